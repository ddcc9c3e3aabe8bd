"""Rules by which operations without weights treat the rows of an input."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.fx import Node

from compressor.graph.program import argument, dims_of, shape_of
from compressor.phases.frequency.flow import RowFlow, rows_of, state_of
from compressor.tracing.couplings import Ids
from compressor.tracing.data import joined_along, moved
from compressor.tracing.flow import Flow, Labels, fixed
from compressor.tracing.labels import Label, along, spread, varying


def pointwise(flow: Flow, node: Node) -> Label | None:
    """Entry-wise operations: rows meet themselves, weights of theirs, and what is broadcast.

    A sum of rows and of something else that is as long (rows in another order, the output of a
    convolution) is no one row's.
    """
    rank, state = len(shape_of(node)), state_of(flow)
    operands = [a for a in node.all_input_nodes if shape_of(a)]
    labels = [(a, rank - len(shape_of(a)) + x.dim, x) for a in operands if (x := state.found(a))]
    if not labels:
        return flow.label(operands[0]) if len(operands) == 1 else None  # a weight on its way
    dim, ids = labels[0][1], labels[0][2].ids
    meetings = [_meets(state, a, ids, dim - (rank - len(shape_of(a)))) for a in operands]
    if len({d for _, d, _ in labels}) > 1 or not all(meetings):
        return None
    return Label(dim, ids)


def _meets(flow: RowFlow, operand: Node, ids: Ids, own: int) -> bool:
    """True if an operand leaves rows what they are; a weight's entries become theirs."""
    shape = shape_of(operand)
    if own < 0 or (shape[own] == 1 and len(ids) > 1):
        return True
    name, label = flow.weight(operand), flow.label(operand)
    if name is not None:
        flow.tie_weight(name, own, ids)
        return True
    if label is None or label.dim != own:
        return False
    if flow.found(operand) is None:
        flow.couplings.tie(ids, label.ids)  # a weight that was reshaped
        return True
    return np.array_equal(label.ids, ids)


def concatenate(flow: Flow, node: Node) -> Label | None:
    """Along the rows they follow each other, elsewhere all must have the same."""
    tensors: list[Node] = list(argument(node, "tensors"))
    dim = joined_along(node)
    labels = [rows_of(flow, t) for t in tensors]
    present = [label for label in labels if label is not None]
    if not present or len({label.dim for label in present}) > 1:
        return None
    if present[0].dim == dim:
        pairs = zip(tensors, labels, strict=True)
        parts = [fixed(shape_of(t)[dim]) if x is None else x.ids for t, x in pairs]
        return Label(dim, np.concatenate(parts))
    same = all(x is not None and np.array_equal(x.ids, present[0].ids) for x in labels)
    return present[0] if same else None


def stack(flow: Flow, node: Node) -> Label | None:
    """Along a new dimension, all with the same rows."""
    labels = [rows_of(flow, t) for t in argument(node, "tensors")]
    first = labels[0]
    if first is None or any(x is None or x.dim != first.dim for x in labels):
        return None
    if any(x is not None and not np.array_equal(x.ids, first.ids) for x in labels):
        return None
    dim = int(argument(node, "dim", 0)) % len(shape_of(node))
    return Label(first.dim + (dim <= first.dim), first.ids)


def movement(flow: Flow, node: Node) -> Labels:
    """Views, permutations, slices: the ids go through the operation themselves."""
    source: Any = node.args[0]
    label = flow.label(source)
    if label is None:
        return None
    after = moved(node, spread(label, shape_of(source)))
    return _settled(after) if isinstance(after, Tensor) else [_settled(part) for part in after]


def _settled(ids: Tensor) -> Label | None:
    """A label again, where the ids vary along one dimension alone.

    Rows split over two dimensions (sub-bands of rows) would be other sub-bands once some are gone.
    """
    dims = varying(ids)
    return Label(dims[0], along(ids, dims[0])) if len(dims) == 1 else None


def cutting(flow: Flow, node: Node) -> Labels:
    """Slices, chunks, picks and rolls: along the rows they count positions, which will change."""
    label, rank = rows_of(flow, node.args[0]), len(shape_of(node.args[0]))
    if label is None:
        return movement(flow, node)
    if label.dim in dims_of(node, rank) and not _whole(node, label):
        value: Any = node.meta.get("val")
        return [None for _ in value] if isinstance(value, list | tuple) else None
    return movement(flow, node)


def _whole(node: Node, label: Label) -> bool:
    """True if a slice takes everything in order, as ``x[:, :, :]`` does."""
    shape = shape_of(node)
    return len(shape) > label.dim and shape[label.dim] == len(label.ids) and "slice" in node.name


def opaque(flow: Flow, node: Node) -> None:
    """An operation nothing is known about."""
    del flow, node
