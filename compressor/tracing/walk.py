"""Which rule reads which operation, and the walk through a program."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from compressor.graph import across
from compressor.graph.graph import OUTPUT
from compressor.graph.program import Program
from compressor.tracing import cuts, data, layers
from compressor.tracing.choices import Choices, Refused
from compressor.tracing.data import Rule
from compressor.tracing.flow import Flow, Labels, place


def _each(names: str, rule: Rule) -> dict[Any, Rule]:
    """One rule for several operations of PyTorch, by name."""
    return {getattr(torch.ops.aten, name): rule for name in names.split()}


RULES: Mapping[Any, Rule] = {
    **_each(
        "conv1d conv2d conv3d",
        partial(layers.convolution, groups_at=6, transposed=False),
    ),
    **_each(
        "conv_transpose1d conv_transpose2d conv_transpose3d",
        partial(layers.convolution, groups_at=6, transposed=True),
    ),
    **_each("linear", layers.linear),
    **_each("matmul mm", layers.matmul),
    **_each("batch_norm instance_norm", layers.batch_norm),
    **_each("layer_norm rms_norm", layers.layer_norm),
    **_each("group_norm", layers.group_norm),
    **_each("prelu _prelu_kernel", layers.prelu),
    **_each("cat concat concatenate", data.concatenate),
    **_each(
        "view reshape _unsafe_view flatten unflatten squeeze unsqueeze permute transpose t numpy_T "
        "movedim moveaxis swapaxes swapdims expand repeat tile repeat_interleave flip "
        "pixel_shuffle pixel_unshuffle adjoint mT",
        data.movement,
    ),
    **_each("view_as reshape_as", data.shaped_alike),
    # Broadcasts to the other operand, whose channels it takes where its own size is one.
    **_each("expand_as", data.pointwise),
    **_each("chunk split split_with_sizes tensor_split slice narrow", cuts.cutting),
    **_each("select", cuts.selecting),
    **_each("unbind roll index_select", data.opaque_across),
    **_each("channel_shuffle native_channel_shuffle", data.shuffled),
    **_each("new_zeros new_ones new_full new_empty", data.made_anew),
    **_each("glu", data.gated),
    **_each(
        "max_pool1d avg_pool1d adaptive_avg_pool1d adaptive_max_pool1d upsample_nearest1d "
        "upsample_linear1d reflection_pad1d replication_pad1d",
        partial(data.pooling, spatial=1),
    ),
    **_each(
        "max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d max_pool2d_with_indices "
        "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d "
        "reflection_pad2d replication_pad2d",
        partial(data.pooling, spatial=2),
    ),
    **_each(
        "max_pool3d avg_pool3d adaptive_avg_pool3d adaptive_max_pool3d upsample_nearest3d "
        "upsample_trilinear3d replication_pad3d",
        partial(data.pooling, spatial=3),
    ),
    **_each("constant_pad_nd pad", data.padding),
    **dict.fromkeys(across.REDUCTIONS, data.reduction),
    **dict.fromkeys(across.RANKED, data.ranked),
    **dict.fromkeys(across.SCANS, data.along_one),
    # Entry-wise operations that PyTorch does not tag as such.
    **_each(
        "dropout dropout_ feature_dropout feature_dropout_ alpha_dropout feature_alpha_dropout "
        "clone contiguous to _to_copy detach detach_ alias lift_fresh_copy type_as relu6 relu6_ "
        "selu selu_ celu hardtanh hardtanh_ hardswish hardswish_ softplus log_sigmoid square "
        "float_power divide multiply subtract true_divide rsub nan_to_num "
        "zeros_like ones_like full_like rand_like randn_like empty_like",
        data.pointwise,
    ),
}
"""Which rule reads which operation. Any other is pointwise if PyTorch tags it so, else opaque."""

OVERLOADS: Mapping[Any, Rule] = {
    **dict.fromkeys(across.entrywise_forms(), data.pointwise),
    torch.ops.aten.view.dtype: data.unknown_form,
    torch.ops.aten.repeat_interleave.Tensor: data.unknown_form,
    torch.ops.aten.repeat_interleave.self_Tensor: data.unknown_form,
}
"""Forms of an operation that are not what its name says."""

CHECKS = ("_assert", "_guard", "sym_")
"""Operations without a tensor result that do not touch data."""


def propagate(
    program: Program,
    weights: Mapping[str, Tensor],
    refused: Refused | None = None,
) -> Flow:
    """Walk through the program and label every activation and weight.

    Args:
        program: The exported operations.
        weights: Parameters and buffers by their first name.
        refused: Readings of operations that the model's code did not survive.
    """
    shapes = {name: tuple(w.shape) for name, w in weights.items()}
    flow = Flow(program, shapes, choices=Choices(refused or {}))
    blocks: list[Node] = []
    for node in program.graph.nodes:
        if node.op == "call_function":
            flow.labels[node.name] = _labels(flow, node)
        elif node.op == "get_attr":
            blocks.append(node)
        elif node.op == "output":
            for result in node.all_input_nodes:
                flow.hold(result, OUTPUT)
    for block in blocks:
        users = ", ".join(place(user) for user in block.users)
        flow.couplings.freeze_all(f"{users} hides a part of the network from the tracer")
    return flow


def _labels(flow: Flow, node: Node) -> Labels:
    """The labels of an operation's output; a form of it that no rule foresees is opaque."""
    try:
        found = _rule(node)(flow, node)
    except Exception:  # noqa: BLE001 - whatever it is, what it touches stays whole
        return data.unknown_form(flow, node)
    return found if data.fits(found, node.meta.get("val")) else data.unknown_form(flow, node)


def _rule(node: Node) -> Rule:
    target: Any = node.target
    if target is data.GETITEM:
        return data.item
    if target in OVERLOADS:
        return OVERLOADS[target]
    packet = across.packet_of(node)
    if packet in RULES:
        return RULES[packet]
    if any(part in str(target) for part in CHECKS):
        return _nothing
    tags = getattr(target, "tags", ())
    return data.pointwise if torch.Tag.pointwise in tags else data.opaque


def _nothing(flow: Flow, node: Node) -> None:
    """A check: no data flows through it."""
    del flow, node
