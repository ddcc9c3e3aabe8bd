"""Operations with weights: convolutions, matrix products, normalisations."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from torch.fx import Node

from compressor.graph.program import argument, module_of, shape_of
from compressor.tracing.choices import by_units
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, Use, fixed, place
from compressor.tracing.labels import Label


def convolution(flow: Flow, node: Node, *, transposed: bool) -> Label | None:
    """A (transposed) convolution: weight (out, in / groups, …) or (in, out / groups, …).

    Dense: output channels are new units, input channels read the units of the input. Grouped: see
    `_group`.
    """
    source, weight = node.args[0], node.args[1]
    bias, groups = argument(node, "bias"), int(argument(node, "groups", 1))
    name, shape = flow.weight(weight), shape_of(weight)
    if name is None:
        return _computed(flow, node, bias)
    channel_dim = len(shape_of(source)) - len(shape) + 1
    reads = _channels(flow, node, source, channel_dim)
    out_channels = shape[1] * groups if transposed else shape[0]
    in_dim, out_dim = (0, 1) if transposed else (1, 0)
    if groups == 1:
        writes = flow.own(name, out_dim)
        flow.tie_weight(name, in_dim, reads)
        whole = False
    else:
        writes, whole = _group(flow, node, reads, out_channels, groups, transposed=transposed)
    _affine(flow, [bias], writes)
    applied = (source, len(reads)) if transposed else (node, out_channels)
    positions = prod(shape_of(applied[0])) // applied[1]
    row = 0 if transposed and whole else out_dim
    use = Use(_site(node, name), name, positions, "conv", reads, writes, row, not whole)
    flow.uses.append(use)
    return Label(channel_dim, writes)


def _group(
    flow: Flow, node: Node, reads: Ids, out_channels: int, groups: int, *, transposed: bool
) -> tuple[Ids, bool]:
    """Tie the channels of a grouped convolution; the ids of its output, and whether groups go.

    Whole groups (a depthwise convolution is the extreme): a group's inputs and outputs are one
    unit. The same offsets of every group: the weight's second dimension shrinks. Either way all
    groups stay equally large.
    """
    name, couplings = str(flow.weight(node.args[1])), flow.couplings
    inputs = reads.reshape(groups, -1)
    equals = WHOLE if inputs.shape[1] <= groups else OFFSETS
    whole = _in_groups(flow, node, reads, groups, equals=equals) == WHOLE
    if whole:
        writes = np.repeat(inputs[:, 0], out_channels // groups)
        flow.tie_weight(name, 0, reads if transposed else writes)
        return writes, whole
    if transposed:
        flow.tie_weight(name, 0, reads)
        return np.tile(flow.own(name, 1), groups), whole
    writes = flow.own(name, 0)
    outputs = writes.reshape(groups, -1)
    couplings.tie(outputs, outputs[:1])
    flow.tie_weight(name, 1, inputs[0])
    return writes, whole


WHOLE, OFFSETS = range(2)
"""What goes of channels in groups: whole groups, or the same offsets of each."""


def _in_groups(flow: Flow, node: Node, ids: Ids, groups: int, *, equals: int) -> int:
    """Tie channels so that their groups stay equally large, in the way that leaves most units.

    Where none leaves any, it is by offsets: the outputs of a convolution are then units of their
    own.
    """
    grouped = ids.reshape(groups, -1)
    rows = {WHOLE: grouped.T, OFFSETS: grouped}
    if 1 in grouped.shape:
        return WHOLE if grouped.shape[1] == 1 else OFFSETS
    units = {way: flow.couplings.units(rows[way]) for way in (equals, WHOLE + OFFSETS - equals)}
    order = by_units(units) if max(units.values()) > 1 else [OFFSETS, WHOLE]
    way = flow.choices.take(node.name, order, ids)
    flow.couplings.tie(rows[way], rows[way][:1])
    return way


def linear(flow: Flow, node: Node) -> Label | None:
    """``y = x W^T + b`` over the last dimension; weight (out, in)."""
    return _product(flow, node, argument(node, "bias"), out_dim=0)


def matmul(flow: Flow, node: Node) -> Label | None:
    """``x @ W`` with a parameter (in, out) is a linear layer; anything else is opaque."""
    weight = node.args[1]
    if flow.weight(weight) is None or len(shape_of(weight)) != 2:
        flow.uncounted.append(place(node))
        return flow.hold_all(node.args, f"{place(node)} multiplies two activations")
    return _product(flow, node, None, out_dim=1)


def _product(flow: Flow, node: Node, bias: Any, *, out_dim: int) -> Label | None:
    source, weight = node.args[0], node.args[1]
    name, rank = flow.weight(weight), len(shape_of(source))
    if name is None:
        return _computed(flow, node, bias)
    reads = _channels(flow, node, source, rank - 1)
    writes = flow.own(name, out_dim)
    flow.tie_weight(name, 1 - out_dim, reads)
    _affine(flow, [bias], writes)
    positions = prod(shape_of(source)) // len(reads)
    use = Use(_site(node, name), name, positions, "linear", reads, writes, out_dim, dense=True)
    flow.uses.append(use)
    return Label(rank - 1, writes)


def channel_norm(flow: Flow, node: Node) -> Label | None:
    """BatchNorm, InstanceNorm, GroupNorm: statistics and affine by channel, at dimension 1.

    The groups of a GroupNorm stay equally large, like those of a grouped convolution.
    """
    source, groups = node.args[0], int(argument(node, "num_groups", 0))
    vectors = [argument(node, n) for n in ("weight", "bias", "running_mean", "running_var")]
    label, shape = flow.label(source), shape_of(source)
    if label is not None and label.dim != 1 and vectors[2] is None:
        flow.hold(source, f"{place(node)} takes statistics across the channels of this axis")
        label = None
    ids = label.ids if label is not None and label.dim == 1 else fixed(shape[1])
    if label is not None and groups:
        _in_groups(flow, node, ids, groups, equals=OFFSETS)
    _affine(flow, vectors, ids)
    flow.channels[module_of(node)] = ids
    return label


def layer_norm(flow: Flow, node: Node) -> Label | None:
    """LayerNorm and RMSNorm over the last dimensions; the affine has their shape."""
    source, normalized = node.args[0], len(node.args[1])  # type: ignore[arg-type]
    label, shape = flow.label(source), shape_of(source)
    for vector in node.args[2:4]:
        name = flow.weight(vector)
        for dim in range(normalized if name else 0):
            whole = len(shape) - normalized + dim
            inside = label is not None and label.dim == whole
            ids = label.ids if label is not None and inside else fixed(shape[whole])
            flow.tie_weight(str(name), dim, ids)
    if label is not None and label.dim == len(shape) - 1 and normalized == 1:
        flow.channels[module_of(node)] = label.ids
    return label


def prelu(flow: Flow, node: Node) -> Label | None:
    """PReLU with one slope, or one a channel (dimension 1)."""
    source, slope = node.args[0], node.args[1]
    label, size = flow.label(source), prod(shape_of(slope))
    if size > 1:
        _affine(flow, [slope], label.ids if label is not None and label.dim == 1 else fixed(size))
    return label


def _computed(flow: Flow, node: Node, bias: Any) -> None:
    """A layer whose weight is the result of other operations can not be cut."""
    flow.uncounted.append(place(node))
    why = f"the weight of {place(node)} is computed, not a parameter"
    flow.hold_all((*node.args[:2], bias), why)
    why = "its weight is computed in forward, for instance by a parametrization"
    flow.whole[module_of(node)] = why


def _affine(flow: Flow, vectors: Any, ids: Ids) -> None:
    """Tie the vectors of a normalisation to its channels; a computed one freezes them."""
    for vector in vectors:
        name = flow.weight(vector)
        if name is not None:
            flow.tie_weight(name, 0, ids)
        elif isinstance(vector, Node):
            flow.hold(vector, "it scales a normalisation")
            flow.couplings.freeze(ids, "its normalisation is scaled by a computed tensor")


def _channels(flow: Flow, node: Node, source: Any, dim: int) -> Ids:
    """Ids of the dimension that a layer contracts; a label elsewhere freezes its channels."""
    label = flow.label(source)
    if label is not None and label.dim == dim:
        return label.ids
    flow.hold(source, f"{place(node)} works across another dimension than the channels")
    return fixed(shape_of(source)[dim])


def _site(node: Node, weight: str) -> str:
    """The module that owns the weight, for reports; the caller for a bare parameter."""
    owner, _, leaf = weight.rpartition(".")
    return owner if leaf == "weight" else module_of(node) or weight
