"""Embeddings: the width of a table of vectors is an axis like the channels of a layer."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from compressor.graph.program import argument, module_of, shape_of
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, Labels, Use, fixed, place
from compressor.tracing.labels import Label


def embedded(flow: Flow, node: Node) -> Label | None:
    """Rows of a weight (numbers, width) by their numbers; the numbers stay what they are."""
    numbers = node.args[1]
    flow.hold(numbers, f"{place(node)} reads it as numbers")
    writes = _table(flow, node)
    return None if writes is None else Label(len(shape_of(numbers)), writes)


def bagged(flow: Flow, node: Node) -> Labels:
    """Sums, means or maxima of rows, one a bag; the places of maxima are those of rows."""
    for name in ("indices", "offsets", "per_sample_weights"):
        flow.hold(argument(node, name), f"{place(node)} reads it as {READS[name]}")
    writes, made = _table(flow, node), node.meta["val"]
    found = None if writes is None else Label(1, writes)
    rows = [found if tuple(x.shape) == tuple(made[0].shape) else None for x in made]
    return [found, *rows[1:]]


READS = {"indices": "numbers", "offsets": "the ends of bags", "per_sample_weights": "factors"}
"""What an operation on bags makes of its other operands, by their names."""


def _table(flow: Flow, node: Node) -> Ids | None:
    """The ids of the width of a table, which is noted as a layer.

    One that is computed of weights has those that it was computed with; of activations it stays.
    """
    table: Any = node.args[0]
    labels = {label.dim: label.ids for label in flow.labels_of(table)}
    if not flow.weighs(table) or 1 not in labels:
        return flow.hold(table, f"the table of {place(node)} is computed of what comes in")
    if flow.weight(table) is None and 0 in labels:
        flow.couplings.freeze(labels[0], f"{place(node)} picks from it by numbers")
    name = flow.source(table)
    owner, _, leaf = name.rpartition(".")
    module = owner if leaf == "weight" else module_of(node) or name
    reads = fixed(shape_of(table)[0])
    # It multiplies nothing, and so costs nothing at as many positions as there are.
    flow.uses.append(Use(module, name, 0, "embedding", reads, labels[1], 1, dense=True))
    return labels[1]
