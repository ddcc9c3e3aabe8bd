"""Embeddings: the width of a table of vectors is an axis like the channels of a layer."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from compressor.graph.program import module_of, shape_of
from compressor.tracing.flow import Flow, Use, fixed, place
from compressor.tracing.labels import Label


def embedded(flow: Flow, node: Node) -> Label | None:
    """Rows of a weight (numbers, width) by their numbers; the numbers stay what they are."""
    weight, numbers = node.args[0], node.args[1]
    flow.hold(numbers, f"{place(node)} reads it as numbers")
    name: Any = flow.weight(weight)
    if name is None:
        return flow.hold(weight, f"the table of {place(node)} is computed, not a parameter")
    writes = flow.own(name, 1)
    owner, _, leaf = name.rpartition(".")
    module = owner if leaf == "weight" else module_of(node) or name
    reads = fixed(flow.shapes[name][0])
    # It multiplies nothing, and so costs nothing at as many positions as there are.
    flow.uses.append(Use(module, name, 0, "embedding", reads, writes, 1, dense=True))
    return Label(len(shape_of(numbers)), writes)
