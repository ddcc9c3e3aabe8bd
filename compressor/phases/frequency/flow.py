"""The state of a walk along the rows of an input."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from torch.fx import Node

from compressor.graph.program import module_of
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow, fixed
from compressor.tracing.labels import Label


@dataclass(frozen=True)
class Reader:
    """An operation with a window or weights that read a tensor.

    Attributes:
        module: The module that does it.
        label: The rows that end there; None where none came in, or they went on.
    """

    module: str
    label: Label | None


@dataclass
class RowFlow(Flow):
    """The walk; ids of the rows are seeded, any other id is a weight's own until it meets them.

    Attributes:
        rows: The ids of the rows.
        readers: Convolutions, matrix products and poolings, in order.
        elsewhere: Other operations at which rows ended.
        columns: Weights of convolutions and matrix products whose entries are rows': ``(module,
            weight, ids read, ids written)``.
        normalised: The dimension of a LayerNorm's own shape that holds rows, by module.
    """

    rows: Ids = field(default_factory=partial(fixed, 0))
    readers: list[Reader] = field(default_factory=list[Reader])
    elsewhere: list[str] = field(default_factory=list[str])
    columns: list[tuple[str, str, Ids, Ids]] = field(
        default_factory=list[tuple[str, str, Ids, Ids]]
    )
    normalised: dict[str, int] = field(default_factory=dict[str, int])

    def hold(self, node: object, reason: str) -> None:
        """Nothing is held: a row that reached something opaque ends there."""

    def found(self, node: object) -> Label | None:
        """The label of a tensor, if it is of rows."""
        label = self.label(node)
        return label if label is not None and np.isin(label.ids, self.rows).any() else None


def rows_of(flow: Flow, node: object) -> Label | None:
    """The label of a tensor, if it is of rows."""
    return state_of(flow).found(node)


def end(flow: Flow, node: Node, label: Label | None) -> None:
    """A reader was called: rows ended there, or (None) none came or they went on."""
    state_of(flow).readers.append(Reader(module_of(node), label))


def tie_vector(flow: Flow, vector: Any, ids: Ids) -> None:
    """A vector that acts on rows entry by entry is theirs."""
    name = flow.weight(vector)
    if name is not None and flow.shapes[name] == (len(ids),):
        flow.tie_weight(name, 0, ids)


def state_of(flow: Flow) -> RowFlow:
    """The walk as what it is; rules are typed for any."""
    if not isinstance(flow, RowFlow):
        raise TypeError("these rules are for a walk along rows")
    return flow
