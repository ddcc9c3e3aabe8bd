"""Which rule reads which operation, and the walk through a program."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from compressor.tracing import data, layers
from compressor.tracing.data import Rule
from compressor.tracing.flow import Flow
from compressor.tracing.program import Program

aten = torch.ops.aten

RULES: Mapping[Any, Rule] = {
    **dict.fromkeys(
        (aten.conv1d, aten.conv2d, aten.conv3d),
        partial(layers.convolution, groups_at=6, transposed=False),
    ),
    **dict.fromkeys(
        (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d),
        partial(layers.convolution, groups_at=6, transposed=True),
    ),
    aten.linear: layers.linear,
    **dict.fromkeys((aten.matmul, aten.mm), layers.matmul),
    **dict.fromkeys((aten.batch_norm, aten.instance_norm), layers.batch_norm),
    **dict.fromkeys((aten.layer_norm, aten.rms_norm), layers.layer_norm),
    aten.group_norm: layers.group_norm,
    **dict.fromkeys((aten.prelu, aten._prelu_kernel), layers.prelu),  # noqa: SLF001
    **dict.fromkeys((aten.cat, aten.concat, aten.concatenate), data.concatenate),
    **dict.fromkeys(
        (
            aten.view, aten.reshape, aten._unsafe_view, aten.flatten, aten.unflatten,  # noqa: SLF001
            aten.squeeze, aten.unsqueeze, aten.permute, aten.transpose, aten.t, aten.numpy_T,
            aten.movedim, aten.swapaxes, aten.swapdims, aten.moveaxis, aten.expand, aten.repeat,
            aten.tile, aten.repeat_interleave, aten.flip, aten.pixel_shuffle, aten.pixel_unshuffle,
            aten.adjoint, aten.mT, aten.expand_as, aten.view_as, aten.reshape_as,
        ),
        data.movement,
    ),
    **dict.fromkeys(
        (
            aten.chunk, aten.split, aten.split_with_sizes, aten.tensor_split, aten.slice,
            aten.narrow,
        ),
        data.cutting,
    ),
    **dict.fromkeys((aten.select, aten.unbind, aten.roll), data.opaque_across),
    aten.glu: data.gated,
    **dict.fromkeys(
        (aten.max_pool1d, aten.avg_pool1d, aten.adaptive_avg_pool1d, aten.adaptive_max_pool1d,
         aten.upsample_nearest1d, aten.upsample_linear1d, aten.reflection_pad1d,
         aten.replication_pad1d),
        partial(data.pooling, spatial=1),
    ),
    **dict.fromkeys(
        (aten.max_pool2d, aten.avg_pool2d, aten.adaptive_avg_pool2d, aten.adaptive_max_pool2d,
         aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.upsample_bicubic2d,
         aten.reflection_pad2d, aten.replication_pad2d, aten.max_pool2d_with_indices,
         aten._upsample_nearest_exact2d),  # noqa: SLF001
        partial(data.pooling, spatial=2),
    ),
    **dict.fromkeys(
        (aten.max_pool3d, aten.avg_pool3d, aten.adaptive_avg_pool3d, aten.adaptive_max_pool3d,
         aten.upsample_nearest3d, aten.upsample_trilinear3d, aten.replication_pad3d),
        partial(data.pooling, spatial=3),
    ),
    **dict.fromkeys((aten.constant_pad_nd, aten.pad), data.padding),
    **dict.fromkeys(
        (aten.mean, aten.sum, aten.var, aten.std, aten.amax, aten.amin, aten.max, aten.min,
         aten.var_mean, aten.std_mean, aten.logsumexp, aten.linalg_vector_norm, aten.norm),
        data.reduction,
    ),
    **dict.fromkeys(
        (aten.softmax, aten._softmax, aten.log_softmax, aten._log_softmax),  # noqa: SLF001
        data.along_one,
    ),
}

PLAIN = (
    aten.dropout, aten.dropout_, aten.feature_dropout, aten.feature_dropout_, aten.alpha_dropout,
    aten.feature_alpha_dropout, aten.clone, aten.contiguous, aten.to, aten._to_copy,  # noqa: SLF001
    aten.detach, aten.detach_, aten.alias, aten.relu6, aten.relu6_, aten.zeros_like,
    aten.ones_like, aten.full_like, aten.type_as, aten.square, aten.hardtanh, aten.hardtanh_,
    aten.lift_fresh_copy, aten.selu, aten.selu_, aten.celu, aten.float_power, aten.divide,
    aten.multiply, aten.subtract, aten.true_divide, aten.softplus,
    aten.log_sigmoid, aten.hardswish, aten.hardswish_, aten.rsub,
    aten.nan_to_num, aten.rand_like, aten.randn_like, aten.empty_like,
)
"""Entry-wise operations that PyTorch does not tag as such."""

CHECKS = ("_assert", "_guard", "sym_")
"""Operations without a tensor result that do not touch data."""


def propagate(program: Program, weights: Mapping[str, Tensor]) -> Flow:
    """Walk through the program and label every activation and weight.

    Args:
        program: The exported operations.
        weights: Parameters and buffers by their first name.
    """
    flow = Flow(program, {name: tuple(w.shape) for name, w in weights.items()})
    for node in program.graph.nodes:
        if node.op == "call_function":
            flow.labels[node.name] = _rule(node)(flow, node)
        elif node.op == "output":
            for result in node.all_input_nodes:
                flow.hold(result, "it is the network's output")
    return flow


def _rule(node: Node) -> Rule:
    target: Any = node.target
    if target is data.GETITEM:
        return data.item
    packet = getattr(target, "overloadpacket", None)
    if packet in RULES:
        return _guarded(RULES[packet], node)
    if any(part in str(target) for part in CHECKS):
        return _nothing
    tags = getattr(target, "tags", ())
    return data.pointwise if packet in PLAIN or torch.Tag.pointwise in tags else data.opaque


def _guarded(rule: Rule, node: Node) -> Rule:
    """`max` and `min` of two tensors are pointwise, of one tensor a reduction."""
    two_tensors = str(node.target) in {"aten.max.other", "aten.min.other"}
    return data.pointwise if two_tensors else rule


def _nothing(flow: Flow, node: Node) -> None:
    """A check: no data flows through it."""
    del flow, node
