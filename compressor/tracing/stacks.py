"""Tensors along a new dimension, where all of them have to have the same channels."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from compressor.graph.program import argument, shape_of
from compressor.tracing.constants import meet
from compressor.tracing.flow import Flow, place
from compressor.tracing.labels import Label


def stacked(flow: Flow, node: Node) -> Label | None:
    """``stack``: the channels of all tensors are tied, and move behind the new dimension."""
    tensors: list[Any] = list(argument(node, "tensors"))
    labels = [flow.label(t) for t in tensors]
    found = [label for label in labels if label is not None]
    if not found:
        return None
    first = found[0]
    if any(label.dim != first.dim for label in found):
        why = f"{place(node)} stacks tensors with different channel dimensions"
        return flow.hold_all(tensors, why)
    for tensor in tensors:
        name = flow.weight(tensor)
        if name is not None:
            flow.tie_weight(name, first.dim, first.ids)
        else:
            meet(flow, node, tensor, first.dim, first.ids)
    dim = int(argument(node, "dim", 0)) % len(shape_of(node))
    return Label(first.dim + (dim <= first.dim), first.ids)
