"""How operations treat the rows of an input: which pass them on, which end them.

The walk is that of `compressor.tracing` with other rules, as something else is asked. Channels are
coupled, and what mixes them must know which ones; rows are there or not. An entry of a weight
belongs to a row when it is applied to what that row alone has become. What mixes rows (a
convolution along them, a pooling, a cut) makes something that is no one row's: there the label
ends, and nothing behind it is sliced.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from compressor.phases.frequency import layers, moves
from compressor.tracing import data
from compressor.tracing.data import Rule


def _each(names: str, rule: Rule) -> dict[Any, Rule]:
    return {getattr(torch.ops.aten, name): rule for name in names.split()}


RULES: dict[Any, Rule] = {
    **_each("conv1d conv2d conv3d", partial(layers.convolution, transposed=False)),
    **_each(
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        partial(layers.convolution, transposed=True),
    ),
    **_each("linear", partial(layers.product, out_dim=0)),
    **_each("matmul mm", partial(layers.product, out_dim=1)),
    **_each("batch_norm instance_norm", layers.batch_norm),
    **_each("layer_norm rms_norm", layers.layer_norm),
    **_each("group_norm", layers.group_norm),
    **_each("prelu _prelu_kernel", layers.prelu),
    **_each("cat concat concatenate", moves.concatenate),
    **_each("stack", moves.stack),
    **_each(
        "chunk split split_with_sizes tensor_split slice narrow select unbind roll", moves.cutting
    ),
    **_each("view_as reshape_as", moves.movement),
    **_each("glu index_select gather index", moves.opaque),
}
"""Rules of rows; an operation that is not here is read by the rule of its kind (`kind`)."""

KINDS: dict[Any, Any] = {
    data.movement: moves.movement,
    data.pointwise: moves.pointwise,
    data.reduction: data.reduction,
    data.along_one: data.along_one,
    data.padding: data.padding,
}
"""The rule of rows for a rule of channels."""
