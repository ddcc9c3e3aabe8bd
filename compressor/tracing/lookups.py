"""Entry by entry, by constants: places among sorted numbers, sampled points, one-hot rows."""

from __future__ import annotations

import torch
from torch.fx import Node

from compressor.graph.operations import operation_of
from compressor.graph.program import argument, packet_of, shape_of
from compressor.tracing.data import movement, on_channels
from compressor.tracing.flow import Flow, Labels, place
from compressor.tracing.labels import Label

aten = torch.ops.aten


def looked_up(flow: Flow, node: Node) -> Label | None:
    """``bucketize``, ``searchsorted``: a number for every entry, by one list for all of them."""
    entries, own = argument(node, "self"), packet_of(node) is aten.searchsorted
    table = argument(node, "sorted_sequence" if own else "boundaries")
    others = [a for a in node.all_input_nodes if a is not entries]
    flow.hold_all(others, f"{place(node)} compares with all of it")
    if len(shape_of(table)) != 1:
        flow.hold(entries, f"{place(node)} has a list for every row of its own")
        return None
    return flow.label(entries)


def sampled(flow: Flow, node: Node) -> Label | None:
    """``grid_sample``: every channel at the same points, of which nothing may go."""
    source, *points = node.all_input_nodes
    flow.hold_all(points, f"{place(node)} reads it as points")
    label, spatial = flow.label(source), operation_of(node.target).spatial
    if label is not None and label.dim != len(shape_of(source)) - spatial - 1:
        return flow.hold(source, f"{place(node)} works across the channels")
    return label


@on_channels
def appended(flow: Flow, node: Node, label: Label) -> Labels:
    """``one_hot``, ``Tensor.unfold``: one more dimension, behind the others."""
    if packet_of(node) is aten.one_hot:
        return label
    if int(argument(node, "dimension")) % len(shape_of(node.args[0])) == label.dim:
        return flow.hold(node.args[0], f"{place(node)} counts channels by their position")
    return movement(flow, node)


def compared(flow: Flow, node: Node) -> Label | None:
    """``cosine_similarity``: along the channels sums over those that there are, of both alike."""
    operands = [argument(node, name) for name in ("x1", "x2")]
    labels = [flow.label(a) for a in operands]
    present = [label for label in labels if label is not None]
    if not present:
        return None
    rank, first = len(shape_of(operands[0])), present[0]
    same = len({shape_of(a) for a in operands}) == 1 and len(present) == 2
    if not same or any(label.dim != first.dim for label in present):
        return flow.hold_all(operands, f"{place(node)} compares it with other channels")
    flow.couplings.tie(first.ids, present[1].ids)
    dim = int(argument(node, "dim", 1)) % rank
    if dim == first.dim:
        return None
    return Label(first.dim - (dim < first.dim), first.ids)
