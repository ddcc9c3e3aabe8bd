"""Entries of weights that belong to each row of a model's input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn
from torch.fx import Node

from compressor.graph.graph import ALWAYS, Axis, Dim, Graph, Site
from compressor.graph.operations import operation_of
from compressor.graph.program import Program, example_of, export
from compressor.inputs import randomness
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example
from compressor.phases.frequency.flow import RowFlow
from compressor.phases.frequency.moves import opaque
from compressor.phases.frequency.rules import RULES
from compressor.tracing import data
from compressor.tracing.axes import Tensors
from compressor.tracing.couplings import FIXED, Ids
from compressor.tracing.data import Rule
from compressor.tracing.flow import Labels
from compressor.tracing.labels import Label


@dataclass(frozen=True)
class RowGraph:
    """The rows of an input and everything in a model that is one row's.

    Attributes:
        dim: The input's dimension that holds the rows.
        graph: The weights, their entries owned by rows: one axis whose units are the rows. It
            knows no costs.
        normalised: The dimension of its own shape in which a LayerNorm holds rows, by module.
        gates: Where rows end, and so where a factor on every row acts as the row's removal does: by
            module, the dimension of its input and the row of every entry there (`ALWAYS` for none).
            Empty where rows end in something that is no module of one input: then only the model's
            own input can be multiplied.
    """

    dim: int
    graph: Graph
    normalised: Mapping[str, int]
    gates: Mapping[str, tuple[int, Ids]]

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.graph.units


def trace_rows(model: nn.Module, example: Example | None = None, *, dim: int = 2) -> RowGraph:
    """Find what in a model belongs to single rows of its (first) input.

    Args:
        model: Any module that `torch.export` can export; left untouched.
        example: An input, batch first: (1, channel, frequency, time); default
            `model.example_input_array`.
        dim: The dimension of the rows, at least 1; 2 for frequency.

    Raises:
        TraceError: If the model does not export.
        ValueError: If there is no usable example.
    """
    inputs = example_of(model, example)
    with randomness.preserved():
        program = export(private_copy(model), inputs)
    tensors = Tensors.of(model)
    flow = _walk(program, tensors.shapes, inputs[0].shape[dim], dim)
    return RowGraph(dim, _graph(flow, tensors), dict(flow.normalised), _gates(flow))


def _walk(program: Program, shapes: dict[str, tuple[int, ...]], count: int, dim: int) -> RowFlow:
    flow = RowFlow(program, shapes)
    flow.rows = flow.couplings.fresh(count)
    flow.labels[program.inputs[0]] = Label(dim, flow.rows)
    for node in program.graph.nodes:
        if node.op == "call_function":
            readers = len(flow.readers)
            flow.labels[node.name] = _labels(flow, node)
            ended = any(reader.label is not None for reader in flow.readers[readers:])
            if not ended and _loses(flow, node):
                flow.elsewhere.append(str(node.target))
    return flow


def _loses(flow: RowFlow, node: Node) -> bool:
    """True if rows go into an operation and none come out."""
    after = flow.labels[node.name]
    kept = after if isinstance(after, list) else [after]
    rows_in = any(flow.found(operand) is not None for operand in node.all_input_nodes)
    return rows_in and not any(label is not None for label in kept)


def _labels(flow: RowFlow, node: Node) -> Labels:
    """The labels of an operation's output; where a rule fails, rows end."""
    try:
        found = _rule(node)(flow, node)
    except Exception:  # noqa: BLE001 - whatever it is, it is not followed
        return opaque(flow, node)
    return found if data.fits(found, node.meta.get("val")) else opaque(flow, node)


def _rule(node: Node) -> Rule:
    if node.target is data.GETITEM:
        return data.item
    return RULES.get(operation_of(node.target).kind, opaque)


def _graph(flow: RowFlow, tensors: Tensors) -> Graph:
    """The weights in terms of rows, in the form that `compressor.surgery.cutting.cut` takes."""
    row_of = _row_of(flow)

    def owned(name: str, dim: int, size: int) -> Dim:
        ids = flow.owners.get((name, dim))
        return Dim(np.full(size, ALWAYS, np.int64) if ids is None else row_of[ids])

    weights = {
        name: tensors.weight(name, tuple(owned(name, dim, size) for dim, size in enumerate(shape)))
        for name, shape in flow.shapes.items()
    }
    sites = tuple(
        Site(module, weight, 1, "rows", Dim(row_of[reads]), Dim(row_of[writes]))
        for module, weight, reads, writes in flow.columns
    )
    channels = {name: Dim(row_of[ids]) for name, ids in flow.channels.items()}
    return Graph((Axis("rows", 0, len(flow.rows)),), weights, sites, channels=channels)


def _row_of(flow: RowFlow) -> Ids:
    """The row that every id belongs to; `ALWAYS` for one that is no row's, or more than one's."""
    roots = flow.couplings.roots()
    mine, counts = np.unique(roots[flow.rows], return_counts=True)
    row_of_root = np.full(int(roots.max()) + 1, ALWAYS, np.int64)
    row_of_root[roots[flow.rows]] = np.arange(len(flow.rows))
    row_of_root[mine[counts > 1]] = ALWAYS
    row_of_root[roots[FIXED]] = ALWAYS
    return row_of_root[roots]


def _gates(flow: RowFlow) -> dict[str, tuple[int, Ids]]:
    """The modules at which rows end; none where one of them is no place for a factor."""
    row_of = _row_of(flow)
    gates: dict[str, tuple[int, Ids]] = {}
    for reader in flow.readers:
        if reader.label is not None:
            gates[reader.module] = (reader.label.dim, row_of[reader.label.ids])
    for reader in flow.readers:
        if reader.module in gates and not _same(reader.label, row_of, gates[reader.module]):
            return {}
    return {} if flow.elsewhere else gates


def _same(label: Label | None, row_of: Ids, gate: tuple[int, Ids]) -> bool:
    """True if a module reads the same rows every time it is called."""
    return label is not None and label.dim == gate[0] and np.array_equal(row_of[label.ids], gate[1])
