"""Rules by which operations treat the rows of an input: which pass them on, which end them.

The walk is that of `compressor.tracing` with other rules. An entry of a weight belongs to a row
when it is applied to what that row alone has become. What mixes rows (a convolution along them, a
pooling, a cut) makes something that is no one row's: there the label ends, and nothing behind it is
sliced.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from compressor.graph.kinds import Kind
from compressor.phases.frequency import layers, moves
from compressor.tracing import data
from compressor.tracing.data import Rule

RULES: Mapping[Kind, Rule] = {
    **dict.fromkeys((Kind.POINTWISE, Kind.COPIES, Kind.DROPOUT), moves.pointwise),
    **dict.fromkeys((Kind.VIEWS, Kind.SHAPED, Kind.MOVES), moves.movement),
    **dict.fromkeys((Kind.CUTS, Kind.SELECTS, Kind.PICKS), moves.cutting),
    Kind.JOINS: moves.concatenate,
    Kind.STACKS: moves.stack,
    Kind.PADS: data.padding,
    Kind.WINDOWS: layers.pooling,
    Kind.REDUCES: data.reduction,
    Kind.SCANS: data.along_one,
    Kind.LAYER_NORM: layers.layer_norm,
    **dict.fromkeys((Kind.GROUP_NORM, Kind.BATCH_NORM), layers.channel_norm),
    Kind.PRELU: layers.prelu,
    Kind.CONVOLUTION: partial(layers.convolution, transposed=False),
    Kind.TRANSPOSED: partial(layers.convolution, transposed=True),
    Kind.LINEAR: partial(layers.product, out_dim=0),
    Kind.PRODUCT: partial(layers.product, out_dim=1),
}
"""The rule of rows for every kind; what is of another ends them."""
