"""Operations with weights: convolutions, matrix products, normalisations."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch.fx import Node

from compressor.graph.program import argument, module_of, shape_of
from compressor.tracing import contraction
from compressor.tracing.choices import by_units
from compressor.tracing.constants import begun
from compressor.tracing.contraction import Operand
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, Use, fixed, place, site_of
from compressor.tracing.labels import Label, Labelled, parts, together


@dataclass(frozen=True)
class Applied:
    """A weight of a layer: a parameter, or what is computed of parameters.

    Attributes:
        flow: The walk.
        name: The parameter, or the largest of those that it is made of.
        shape: Its shape.
        plain: Whether it is the parameter itself.
        computed: Ids by dimension, of a computed one.
    """

    flow: Flow
    name: str
    shape: tuple[int, ...]
    plain: bool
    computed: Mapping[int, Ids]

    def own(self, dim: int) -> Ids:
        """The ids of a dimension."""
        if self.plain:
            return self.flow.own(self.name, dim)
        return self.computed.get(dim, fixed(self.shape[dim]))

    def tie(self, dim: int, ids: Ids) -> None:
        """Tie a dimension to ids (entry by entry)."""
        self.flow.couplings.tie(self.own(dim), ids)

    @property
    def dims(self) -> tuple[Ids, ...] | None:
        """Ids of the dimensions that may shrink, where they are not those of the parameter."""
        long = (d for d in (0, 1) if self.shape[d] > 1)
        return None if self.plain else tuple(self.own(d) for d in long)

    def positions(self, plain: int) -> int:
        """How often every entry counts; where `dims` are given, every one of their products."""
        if self.plain:
            return plain
        return plain * prod(self.shape) // prod(n for n in self.shape[:2] if n > 1)


def _applied(flow: Flow, weight: Any) -> Applied | None:
    """A weight as it is applied; None where nothing of it is one that is trained.

    One that is mixed of several by what comes in has their channels. A kernel is never cut: its
    ids, which a computed weight has there, are frozen.
    """
    name, shape = flow.weight(weight), shape_of(weight)
    if name is not None:
        return Applied(flow, name, shape, plain=True, computed={})
    if not flow.weighs(weight) and not flow.labels_of(weight):
        return None
    found = {label.dim: label.ids for label in flow.labels_of(weight)}
    for dim in [dim for dim in found if dim > 1]:
        flow.couplings.freeze(found.pop(dim), "it is a kernel's own dimension")
    return Applied(flow, flow.source(weight), shape, plain=False, computed=found)


def convolution(flow: Flow, node: Node, *, transposed: bool) -> Label | None:
    """A (transposed) convolution: weight (out, in / groups, …) or (in, out / groups, …).

    Dense: output channels are new units, input channels read the units of the input. Grouped: see
    `_group`. A weight that is computed of others has their units.
    """
    source, weight = node.args[0], _applied(flow, node.args[1])
    bias, groups = argument(node, "bias"), int(argument(node, "groups", 1))
    if weight is None:
        return _computed(flow, node, bias)
    shape = weight.shape
    channel_dim = len(shape_of(source)) - len(shape) + 1
    reads = _channels(flow, node, source, channel_dim)
    out_channels = shape[1] * groups if transposed else shape[0]
    in_dim, out_dim = (0, 1) if transposed else (1, 0)
    if groups == 1:
        writes = weight.own(out_dim)
        weight.tie(in_dim, reads)
        whole = False
    else:
        writes, whole = _group(
            flow, node, weight, reads, out_channels, groups, transposed=transposed
        )
    affine(flow, [bias], writes)
    applied = (source, len(reads)) if transposed else (node, out_channels)
    positions = weight.positions(prod(shape_of(applied[0])) // applied[1])
    row = 0 if transposed and whole else out_dim
    site = site_of(node, weight.name) if weight.plain else module_of(node) or weight.name
    flow.uses.append(
        Use(site, weight.name, positions, "conv", reads, writes, row, not whole, weight.dims)
    )
    return Label(channel_dim, writes)


def _group(
    flow: Flow,
    node: Node,
    weight: Applied,
    reads: Ids,
    out_channels: int,
    groups: int,
    *,
    transposed: bool,
) -> tuple[Ids, bool]:
    """Tie the channels of a grouped convolution; the ids of its output, and whether groups go.

    Whole groups (a depthwise convolution is the extreme): a group's inputs and outputs are one
    unit. The same offsets of every group: the weight's second dimension shrinks. Either way all
    groups stay equally large.
    """
    inputs = reads.reshape(groups, -1)
    equals = WHOLE if inputs.shape[1] <= groups else OFFSETS
    whole = _in_groups(flow, node, reads, groups, equals=equals) == WHOLE
    if whole:
        writes = np.repeat(inputs[:, 0], out_channels // groups)
        weight.tie(0, reads if transposed else writes)
        return writes, whole
    if transposed:
        weight.tie(0, reads)
        return np.tile(weight.own(1), groups), whole
    writes = weight.own(0)
    outputs = writes.reshape(groups, -1)
    flow.couplings.tie(outputs, outputs[:1])
    weight.tie(1, inputs[0])
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
    if equals == OFFSETS and 1 < units[OFFSETS] < units[WHOLE] < 2 * units[OFFSETS]:
        order = [OFFSETS, WHOLE]  # with whole groups go their outputs, and what these are tied to
    way = flow.choices.take(node.name, order, ids)
    flow.couplings.tie(rows[way], rows[way][:1])
    return way


def linear(flow: Flow, node: Node) -> Labelled:
    """``y = x W^T + b`` over the last dimension; weight (out, in)."""
    bias = argument(node, "bias")
    found = _product(flow, node, out_dim=0)
    affine(flow, [bias], ids_along(node, found, len(shape_of(node)) - 1))
    return found


def matmul(flow: Flow, node: Node) -> Labelled:
    """``x @ W`` with a parameter (in, out) is a linear layer; other products are contractions."""
    if len(shape_of(node.args[1])) == 2 and len(shape_of(node.args[0])) > 1:
        return _product(flow, node, out_dim=1)
    return contraction.product(flow, node)


def _product(flow: Flow, node: Node, *, out_dim: int) -> Labelled:
    """A linear layer: by a plain weight over the only labelled dimension, or over any."""
    source, weight = node.args[0], node.args[1]
    name, rank = flow.weight(weight), len(shape_of(source))
    if any(label.dim != rank - 1 for label in flow.labels_of(source)) or name is None:
        last: list[Hashable] = ["n", "k"] if out_dim == 0 else ["k", "n"]
        batch = list(range(rank - 1))
        operands = [Operand(source, [*batch, "k"]), Operand(weight, last)]  # type: ignore[arg-type]
        return contraction.contract(flow, node, operands, [*batch, "n"])
    reads = _channels(flow, node, source, rank - 1)
    writes = flow.own(str(name), out_dim)
    flow.tie_weight(str(name), 1 - out_dim, reads)
    positions = prod(shape_of(source)) // len(reads)
    site = site_of(node, str(name))
    use = Use(site, str(name), positions, "linear", reads, writes, out_dim, dense=True)
    flow.uses.append(use)
    return Label(rank - 1, writes)


def ids_along(node: Node, found: Labelled, dim: int) -> Ids:
    """Ids of one dimension of a result, fixed ones where nothing of it shrinks."""
    own = (label.ids for label in parts(found) if label.dim == dim)
    return next(own, fixed(shape_of(node)[dim]))


def channel_norm(flow: Flow, node: Node) -> Labelled:
    """BatchNorm, InstanceNorm, GroupNorm: statistics and affine by channel, at dimension 1.

    The groups of a GroupNorm stay equally large, like those of a grouped convolution.
    """
    source, groups = node.args[0], int(argument(node, "num_groups", 0))
    vectors = [argument(node, n) for n in ("weight", "bias", "running_mean", "running_var")]
    labels = {label.dim: label for label in flow.labels_of(source)}
    for dim in [dim for dim in labels if dim > 1 and groups]:
        why = f"{place(node)} takes statistics across the channels of this axis"
        flow.couplings.freeze(labels.pop(dim).ids, why)
    ids = labels[1].ids if 1 in labels else fixed(shape_of(source)[1])
    if 1 in labels and groups:
        _in_groups(flow, node, ids, groups, equals=OFFSETS)
    affine(flow, vectors, ids)
    flow.channels[module_of(node)] = ids
    return together(labels.values(), flow.couplings)


def layer_norm(flow: Flow, node: Node) -> Labelled:
    """LayerNorm and RMSNorm over the last dimensions; the affine has their shape."""
    source, normalized = node.args[0], len(node.args[1])  # type: ignore[arg-type]
    shape = shape_of(source)
    ids = {label.dim: label.ids for label in flow.labels_of(source)}
    for vector in node.args[2:4]:
        mine = {label.dim: label.ids for label in flow.labels_of(vector)}
        for dim in range(normalized if isinstance(vector, Node) else 0):
            whole = len(shape) - normalized + dim
            found = ids.get(whole, fixed(shape[whole]))
            flow.couplings.tie(found, mine.get(dim, fixed(shape[whole])))
    if len(shape) - 1 in ids and normalized == 1:
        flow.channels[module_of(node)] = ids[len(shape) - 1]
    return together((Label(dim, ids[dim]) for dim in ids), flow.couplings)


def weight_norm(flow: Flow, node: Node) -> Labelled:
    """A direction, divided by its norm over all dimensions but one, times a size for each there."""
    direction, size, dim = node.args[0], node.args[1], int(argument(node, "dim", 0))
    labels = flow.labels_of(direction)
    sizes = {label.dim: label.ids for label in flow.labels_of(size)}
    for label in labels:
        if label.dim == dim:
            flow.couplings.tie(label.ids, sizes.get(dim, fixed(len(label.ids))))
    return together(labels, flow.couplings)


def prelu(flow: Flow, node: Node) -> Labelled:
    """PReLU with one slope, or one a channel (dimension 1)."""
    source, slope = node.args[0], node.args[1]
    labels, size = {label.dim: label for label in flow.labels_of(source)}, prod(shape_of(slope))
    if size > 1:
        affine(flow, [slope], labels[1].ids if 1 in labels else fixed(size))
    return together(labels.values(), flow.couplings)


def _computed(flow: Flow, node: Node, bias: Any) -> None:
    """A layer whose weight depends on the input can not be cut."""
    flow.uncounted.append(place(node))
    why = f"the weight of {place(node)} is computed from the input"
    flow.hold_all((*node.args[:2], bias), why)
    flow.whole[module_of(node)] = "its weight is computed in forward from the input"


def affine(flow: Flow, vectors: Any, ids: Ids) -> None:
    """Tie the vectors of a layer to its channels."""
    for vector in vectors:
        if isinstance(vector, Node):
            own = [label.ids for label in flow.labels_of(vector) if len(label.ids) == len(ids)]
            if flow.weight(vector) is not None:
                flow.tie_weight(str(flow.weight(vector)), 0, ids)
            else:
                flow.couplings.tie(own[0] if own else fixed(len(ids)), ids)


def _channels(flow: Flow, node: Node, source: Any, dim: int) -> Ids:
    """Ids of the dimension that a layer contracts; a label elsewhere freezes its channels."""
    found = {label.dim: label.ids for label in flow.labels_of(source)}
    for other in set(found) - {dim}:
        why = f"{place(node)} works across another dimension than the channels"
        flow.couplings.freeze(found[other], why)
    if dim in found:
        return found[dim]
    new = begun(flow, node, source, dim)
    return fixed(shape_of(source)[dim]) if new is None else new
