"""Operations that work along some dimensions and leave all others apart.

Picking and putting by tensors of numbers (``gather``, ``scatter``), differences of neighbours,
triangles, slices that are replaced: along the dimension that they work in they count positions.
Along any other they do the same to every channel, and all tensors that they take have to have the
same channels there.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from compressor.graph.memory import root
from compressor.graph.operations import operation_of
from compressor.graph.program import argument, in_place, packet_of, shape_of
from compressor.tracing.constants import meet
from compressor.tracing.flow import Flow, place
from compressor.tracing.labels import Label

aten = torch.ops.aten
_BROADCASTS = (aten.take_along_dim,)
_DIMS = ("dims", "dim", "dimension", "dim1", "dim2")


def along(node: Node, rank: int) -> set[int]:
    """The dimensions that an operation works in: the last, those that it names, or all."""
    spatial = operation_of(node.target).spatial
    if spatial:
        return set(range(rank - spatial, rank))
    found: set[int] = set()
    for name in _DIMS:
        given = argument(node, name)
        found |= {given} if isinstance(given, int) else set(given or ())
    return {int(dim) % rank for dim in found} or set(range(rank))


def beside(flow: Flow, node: Node) -> Label | None:
    """One of these operations: channels pass where it does not work along them."""
    rank = len(shape_of(node))
    operands = [a for a in node.all_input_nodes if shape_of(a)]
    if in_place(node) and root(operands[0]).op != "call_function":
        return flow.hold_all(operands, f"{place(node)} writes into what is kept")
    every = [(a, x) for a in operands if (x := flow.label(a))]
    found = [(a, x) for a, x in every if flow.weight(a) is None] or every
    if not found:
        return flow.hold_all(operands, f"{place(node)} picks from it by numbers")
    dim = _in(node, *found[0], rank)
    if any(_in(node, operand, label, rank) != dim for operand, label in found):
        return flow.hold_all(operands, f"{place(node)} combines channels with channels")
    if dim is None or dim in along(node, rank):
        return flow.hold_all(operands, f"{place(node)} counts channels by their position")
    ids = found[0][1].ids
    for operand in operands:
        _tie(flow, node, operand, Label(dim, ids), rank)
    return Label(dim, ids)


def _in(node: Node, operand: Node, label: Label, rank: int) -> int | None:
    """The dimension of the result that an operand's channels are."""
    if len(shape_of(operand)) == rank:
        return label.dim
    if packet_of(node) is aten.select_scatter and operand is argument(node, "src"):
        cut = int(argument(node, "dim")) % rank
        return label.dim + (cut <= label.dim)
    return None


def _tie(flow: Flow, node: Node, operand: Node, label: Label, rank: int) -> None:
    """Tie an operand, unless it is broadcast or a list of positions in another dimension."""
    shape, own = shape_of(operand), label.dim
    if len(shape) != rank:
        if packet_of(node) is not aten.select_scatter:
            return
        own -= int(argument(node, "dim")) % rank < label.dim
    if shape[own] == 1 and packet_of(node) in _BROADCASTS:
        return
    if shape[own] != len(label.ids):
        why = f"{place(node)} counts channels by their position"
        flow.hold(operand, why)
        flow.couplings.freeze(label.ids, why)
        return
    name = flow.weight(operand)
    if name is not None:
        flow.tie_weight(name, own, label.ids)
    else:
        meet(flow, node, operand, own, label.ids)
