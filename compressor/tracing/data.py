"""Operations without weights: pointwise, reductions, and everything that only moves data."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Node

from compressor.graph.kinds import Kind, Positions
from compressor.graph.operations import operation_of
from compressor.graph.program import argument, dims_of, packet_of, shape_of
from compressor.tracing import heads
from compressor.tracing.apart import along
from compressor.tracing.choices import by_units
from compressor.tracing.constants import COMPUTED, WRITTEN, begun, goes_along, meet
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, Labels, fixed, place
from compressor.tracing.labels import Label, move, parts, together

Rule = Callable[[Flow, Node], Labels]
GETITEM = operator.getitem


def on_channels(rule: Callable[[Flow, Node, Label], Labels]) -> Rule:
    """A rule for operations on one tensor; where its channels are not known it says nothing."""

    def asked(flow: Flow, node: Node) -> Labels:
        label = flow.label(node.args[0])
        return None if label is None else rule(flow, node, label)

    return asked


def _rank(node: Node) -> int:
    return len(shape_of(node.args[0]))


def _paired(node: Node) -> bool:
    return isinstance(node.meta.get("val"), list | tuple)


def pointwise(flow: Flow, node: Node) -> Label | None:
    """Entry-wise operations with broadcasting: operands that meet in a dimension share its units.

    An operand of size one broadcasts; any other operand without units cannot shrink and freezes
    those of the others.
    """
    rank = len(shape_of(node))
    operands = [a for a in node.all_input_nodes if shape_of(a)]
    # Activations come first: the weights that meet them take their units.
    operands.sort(key=lambda operand: flow.weight(operand) is not None)
    found = [
        Label(rank - len(shape_of(a)) + label.dim, label.ids)
        for a in operands
        if (label := flow.label(a)) is not None
    ]
    # One of a single entry, in front of more, broadcasts.
    found = [one for one in found if len(one.ids) == shape_of(node)[one.dim]]
    if not found:
        return None
    first = found[0]
    met = [_meet(flow, node, operand, first.ids, rank, first.dim) for operand in operands]
    weighs = all(flow.weighs(a) for a in operands if flow.label(a) is not None)
    return first if all(met) or not weighs else None  # a weight added to what has no channels there


def copied(flow: Flow, node: Node) -> Label | None:
    """The first operand again; of another one (``type_as``) nothing is taken but its type."""
    return flow.label(node.args[0])


def _meet(flow: Flow, node: Node, operand: Node, ids: Ids, rank: int, dim: int) -> bool:
    """Let an operand meet channels; True unless these have to stay for it."""
    shape = shape_of(operand)
    own = dim - (rank - len(shape))
    size = shape[own] if own >= 0 else 1
    label = flow.label(operand)
    if size == 1 and len(ids) > 1:
        return True
    if label is not None and label.dim == own:
        flow.couplings.tie(ids, label.ids)
        return True
    if goes_along(flow, node, operand, own, ids):
        return True
    flow.couplings.freeze(ids, f"{place(node)} combines it with a tensor that cannot shrink")
    return False


def concatenate(flow: Flow, node: Node) -> Label | None:
    """Concatenation: along the channels the ids follow each other, elsewhere they must agree."""
    tensors: list[Node] = list(argument(node, "tensors"))
    dim = joined_along(node)
    labels = [flow.label(t) for t in tensors]
    dims = {label.dim for label in labels if label is not None}
    if dims <= {dim}:
        labels = [_begun(flow, node, *pair, dim) for pair in zip(tensors, labels, strict=True)]
        dims = {dim for label in labels if label is not None}
    if not dims:
        return None
    if dims == {dim}:
        pairs = zip(tensors, labels, strict=True)
        parts = [fixed(shape_of(t)[dim]) if label is None else label.ids for t, label in pairs]
        return Label(dim, np.concatenate(parts))
    if len(dims) > 1 or dim in dims:
        why = f"{place(node)} joins tensors with different channel dimensions"
        return flow.hold_all(tensors, why)
    first, own = next(label.ids for label in labels if label is not None), dims.pop()
    for tensor in tensors:
        name = flow.weight(tensor)
        if name is not None:
            flow.tie_weight(name, own, first)
        else:
            meet(flow, node, tensor, own, first)
    return Label(own, first)


def _begun(flow: Flow, node: Node, tensor: Node, label: Label | None, dim: int) -> Label | None:
    """The label of a tensor that is joined; of a constant that has met no channels a new one."""
    ids = begun(flow, node, tensor, dim) if label is None else None
    return label if ids is None else Label(dim, ids)


def joined_along(node: Node) -> int:
    """The dimension along which an operation joins tensors of the rank of its result."""
    rank = len(shape_of(node))
    dim, least = _JOINED.get(packet_of(node), (argument(node, "dim", 0), 1))
    if rank < least or any(len(shape_of(t)) != rank for t in argument(node, "tensors")):
        raise ValueError("it makes dimensions of its own")
    return int(dim) % rank


_JOINED = {
    torch.ops.aten.hstack: (1, 2),
    torch.ops.aten.column_stack: (1, 2),
    torch.ops.aten.vstack: (0, 2),
    torch.ops.aten.dstack: (2, 3),
}
"""Operations that know their dimension, and the least rank at which it is that."""


@on_channels
def movement(flow: Flow, node: Node, label: Label) -> Labels:
    """Views, permutations, padding-free copies: the ids go through the operation themselves."""
    shape, choose = shape_of(node.args[0]), partial(_reading, flow, node)
    split = partial(heads.split, flow, node)
    found = move(partial(moved, node), label, shape, flow.couplings, choose, split)
    if not flow.focus and not isinstance(found, list):
        split = not isinstance(found, Label) and heads.parted(flow, node)
        for one in () if split else parts(found):
            heads.numbered(flow, node, one)
    return found


def moved(node: Node, ids: Tensor) -> Any:
    """Apply an operation that moves entries, to other entries that lie in memory in order."""
    if operation_of(node.target).kind in (Kind.VIEWS, Kind.SHAPED):
        return ids.reshape(shape_of(node))
    return node.target(ids, *node.args[1:], **node.kwargs)  # type: ignore[operator]


def _reading(flow: Flow, node: Node, units: Mapping[int, int], ids: Ids) -> int:
    """The dimension in which a view that splits the channels shrinks.

    A shuffle of pixels leaves no choice, its factor is given. Of a view it is the dimension whose
    size the code leaves open, if there is one; else that with the most units, the last of equals,
    as the number of groups or heads is more often written down than the size of one.
    """
    if node.target is torch.ops.aten.pixel_shuffle.default:
        return len(shape_of(node)) - 3
    sizes: Any = node.args[1] if len(node.args) > 1 else None
    sizes = list(sizes) if isinstance(sizes, list | tuple) else []  # pyright: ignore[reportUnknownArgumentType]
    order = by_units(dict(reversed(list(units.items()))))
    order.sort(key=lambda dim: not (len(sizes) == len(shape_of(node)) and sizes[dim] == -1))
    return flow.choices.take(node.name, order, ids)


def shaped_alike(flow: Flow, node: Node) -> Labels:
    """A view in the shape of another tensor: where one of them shrinks the other has to."""
    source, other = node.args[:2]
    moved_: list[Label] = []
    for label in flow.labels_of(source):
        flow.focus = {source.name: label}  # type: ignore[union-attr]
        found = movement(flow, node)
        moved_ += () if isinstance(found, list) else parts(found)
    flow.focus = {}
    reason = f"{place(node)} takes the shape of a tensor with other channels"
    mine = {label.dim: label for label in parts(together(moved_, flow.couplings))}
    theirs = {label.dim: label for label in flow.labels_of(other)}
    for dim in mine.keys() & theirs.keys():
        flow.couplings.tie(mine[dim].ids, theirs[dim].ids)
    for dim in mine.keys() ^ theirs.keys():
        flow.couplings.freeze((mine.get(dim) or theirs[dim]).ids, reason)
    return together(mine.values(), flow.couplings)


@on_channels
def gated(flow: Flow, node: Node, label: Label) -> Label:
    """GLU: the second half of the channels gates the first, so the halves are tied."""
    if int(argument(node, "dim", -1)) % _rank(node) != label.dim:
        return label
    halves = label.ids.reshape(2, -1)
    flow.couplings.tie(halves[0], halves[1])
    return Label(label.dim, halves[0])


@on_channels
def shuffled(flow: Flow, node: Node, label: Label) -> Labels:
    """A channel shuffle: the number of groups stays, so every group loses the same offsets."""
    if label.dim == 1:
        groups = label.ids.reshape(int(argument(node, "groups")), -1)
        flow.couplings.tie(groups, groups[0])
    return movement(flow, node)


def unlabelled(flow: Flow, node: Node) -> None:
    """A check, or a constant that takes nothing of a tensor but its type and device."""
    del flow, node


@on_channels
def opaque_across(flow: Flow, node: Node, label: Label) -> Labels:
    """Operations that pick or shift entries: fine along other dimensions, opaque across channels.

    `roll` is one of them: when a channel that wraps around is removed, the next one would wrap.
    """
    if label.dim in along(node, _rank(node)):
        return flow.hold(node.args[0], f"{place(node)} picks channels by their position")
    return movement(flow, node)


@on_channels
def pooling(flow: Flow, node: Node, label: Label) -> Labels:
    """Pooling, resampling and padding work on the last dimensions only."""
    if label.dim >= _rank(node) - operation_of(node.target).spatial:
        return flow.hold(node.args[0], f"{place(node)} works across the channels")
    return [label, label] if _paired(node) else label


@on_channels
def padding(flow: Flow, node: Node, label: Label) -> Labels:
    """Padding. Copies of other channels cannot be; channels of a constant are units of their own.

    They go with the channels of another tensor that they are added to, where the code computes how
    many there are to be (on both sides as many); where it is written down they stay.
    """
    source, pad = node.args[0], list(node.args[1])  # type: ignore[arg-type]
    before = 2 * (_rank(node) - 1 - label.dim)
    low, high = (int(n) for n in pad[before : before + 2] or (0, 0))
    if not low and not high:
        return label
    if low < 0 or high < 0:
        return flow.hold(source, f"{place(node)} crops the channels")
    mode = argument(node, "mode", "constant")
    if mode != "constant":
        why = f"{place(node)} with mode {mode!r} copies channels by their position"
        return flow.hold(source, why)
    padded = _padded(flow, label, low, high)
    if flow.choices.take(node.name, [COMPUTED, WRITTEN], padded.ids) == COMPUTED:
        return padded
    return Label(label.dim, np.concatenate([fixed(low), label.ids, fixed(high)]))


def _padded(flow: Flow, label: Label, low: int, high: int) -> Label:
    """A label with new units on either side; on both as many, which go in pairs."""
    added = flow.couplings.fresh(min(low, high) or max(low, high))
    first, last = (added[:side] for side in (low, high))
    more = fixed(low - len(first)), fixed(high - len(last))
    return Label(label.dim, np.concatenate([more[0], first, label.ids, last, more[1]]))


@on_channels
def reduction(flow: Flow, node: Node, label: Label) -> Labels:
    """Sums, means, variances, maxima, norms: over the channels they see the kept ones only."""
    source, reduced, pair = node.args[0], dims_of(node, _rank(node)), _paired(node)
    if label.dim in reduced:
        if _counts_channels(node, pair=pair):
            flow.hold(source, f"{place(node)} returns channel numbers, which are read")
        elif argument(node, "k", 1) != 1:
            flow.hold(source, f"{place(node)} counts channels by their rank")
        return None
    keep, several = bool(argument(node, "keepdim", default=False)), argument(node, "q")
    flow.hold(several, f"{place(node)} reads it as shares")
    shift = 0 if keep else sum(d < label.dim for d in reduced)
    # Quantiles of several shares lie behind each other in a new first dimension.
    after = Label(label.dim - shift + len(shape_of(several)), label.ids)
    return [after, after] if pair else after


def _counts_channels(node: Node, *, pair: bool) -> bool:
    """True if a position along the reduced dimension is read by anyone."""
    positions = operation_of(node.target).positions
    if pair:
        return positions is Positions.SECOND and positions_read(node)
    return positions is Positions.ONLY


def positions_read(node: Node) -> bool:
    """True if anybody reads where the values of a pair were found."""
    return any(user.args[1] == 1 and user.users for user in node.users)


@on_channels
def ranked(flow: Flow, node: Node, label: Label) -> Labels:
    """Sorting and the largest few: across the channels nothing but the largest is sure to exist."""
    if int(argument(node, "dim")) % _rank(node) != label.dim:
        return [label, label]
    if positions_read(node):
        flow.hold(node.args[0], f"{place(node)} returns channel numbers, which are read")
    elif argument(node, "k") != 1:
        flow.hold(node.args[0], f"{place(node)} orders the channels by their values")
    return None


@on_channels
def along_one(flow: Flow, node: Node, label: Label) -> Labels:
    """Softmax, running sums: same shape out as in; across channels they see the kept ones only."""
    if not _paired(node):
        return label
    if label.dim in dims_of(node, _rank(node)) and positions_read(node):
        flow.hold(node.args[0], f"{place(node)} returns channel numbers, which are read")
    return [label, label]


def item(flow: Flow, node: Node) -> Labels:
    """`operator.getitem` on an operation with several outputs."""
    source, index = node.args
    found = flow.labels.get(source.name) if isinstance(source, Node) else None
    return found[int(index)] if isinstance(found, list) else None  # type: ignore[arg-type]


def opaque(flow: Flow, node: Node, why: str = "is opaque to the tracer") -> None:
    """An operation nothing is known about: everything it touches stays whole."""
    flow.uncounted.append(place(node))
    flow.hold_all(node.all_input_nodes, f"{place(node)} {why}{_remedy(node)}")


def _remedy(node: Node) -> str:
    """Advice on an operator that is none of PyTorch's own; empty for others."""
    if not isinstance(node.target, OpOverload) or node.target.namespace in ("aten", "prim"):
        return ""
    name = node.target._schema.name  # noqa: SLF001 - written nowhere else
    return f": operations=[compressor.Operation({name!r}, ...)] says what it does"


def unknown_form(flow: Flow, node: Node) -> None:
    """An operation that is known, with arguments that are not."""
    opaque(flow, node, "has arguments that the tracer does not know")


def fits(found: Labels, value: Any) -> bool:
    """True if labels could be those of this output: as many tensors, entries and ids."""
    if isinstance(found, list):
        several = isinstance(value, list | tuple) and len(found) == len(value)  # pyright: ignore[reportUnknownArgumentType]
        return several and all(map(fits, found, value))
    shape = value.shape if isinstance(value, Tensor) else ()
    return all(
        label.dim < len(shape) and int(shape[label.dim]) == len(label.ids) for label in parts(found)
    )
