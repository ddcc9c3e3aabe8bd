"""Recurrent layers: LSTM, GRU and plain ones, over a sequence or one step at a time.

A unit is a hidden unit with all that belongs to it: its row of every gate, its biases, the columns
that read it in the next step and in the next layer. A layer of PyTorch has one `hidden_size` for
all of its layers and directions, so unit j of each of them goes with unit j of all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from torch.fx import Node

from compressor.graph.program import argument, module_of, shape_of
from compressor.tracing.couplings import Ids
from compressor.tracing.data import opaque
from compressor.tracing.flow import Flow, Labels, Use, fixed, place
from compressor.tracing.labels import Label
from compressor.tracing.states import begin


@dataclass(frozen=True)
class Gates:
    """The weights of one direction of one layer, by name.

    Attributes:
        reads: Of what comes in, (gates x hidden, inputs).
        recurs: Of the state, (gates x hidden, outputs).
        biases: Of either, (gates x hidden,).
        projects: From hidden units to outputs, (outputs, hidden); empty where these are the same.
    """

    reads: str
    recurs: str
    biases: tuple[str, ...]
    projects: str


@dataclass(frozen=True)
class Widths:
    """Ids of the hidden units of a recurrent layer, and of its outputs."""

    hidden: Ids
    outputs: Ids


def recurrence(flow: Flow, node: Node) -> Labels:
    """A recurrent layer over sequences, or one step of it."""
    if argument(node, "batch_sizes") is not None:
        return opaque(flow, node, "runs on a packed sequence")
    directions = 2 if argument(node, "bidirectional", default=False) else 1
    layers = _layers(flow, node, directions)
    if not layers:
        return opaque(flow, node, "has weights that are computed, not parameters")
    widths, inputs = _widths(flow, layers[0]), _inputs(flow, node)
    steps, reads = prod(shape_of(node.args[0])) // len(inputs), inputs
    for number, gates in enumerate(layers):
        if number and number % directions == 0:
            reads = np.tile(widths.outputs, directions)
        _layer(flow, node, gates, widths, reads, steps)
    _remember(flow, node, layers, {"input_size": inputs, **_sizes(layers[0], widths)})
    states = _states(node)
    for state, ids in zip(states, (widths.outputs, widths.hidden), strict=False):
        begin(flow, node, state, ids)
    return _results(node, len(states), widths, np.tile(widths.outputs, directions))


def _layers(flow: Flow, node: Node, directions: int) -> list[Gates]:
    """The weights of every direction of every layer, in order; none if one is no parameter."""
    names = [flow.weight(weight) for weight in _weights(node)]
    runs = directions * int(argument(node, "num_layers", 1))
    each = len(names) // runs
    biases = slice(2, 4 if each > 3 else 2)
    found: list[Gates] = []
    for first in range(0, len(names), each):
        own = [name for name in names[first : first + each] if name is not None]
        if len(own) < each:
            return []
        projects = own[-1] if each in (3, 5) else ""
        found.append(Gates(own[0], own[1], tuple(own[biases]), projects))
    return found


def _weights(node: Node) -> list[Any]:
    """The weights among the arguments: a list of a layer, one by one of a step."""
    listed = argument(node, "params")
    if listed is not None:
        return list(listed)
    given = [argument(node, name) for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    return [weight for weight in given if weight is not None]


def _widths(flow: Flow, gates: Gates) -> Widths:
    """The hidden units, and the outputs that are these or a projection of them.

    PyTorch takes a state as wide as the cells for one without a projection, so that there has to be
    more of the latter. So an output goes with the hidden unit of its number, and those beyond are
    an axis of their own, of which one stays as of any other.
    """
    if not gates.projects:
        hidden = flow.own(gates.recurs, 1)
        return Widths(hidden, hidden)
    found = Widths(flow.own(gates.projects, 1), flow.own(gates.projects, 0))
    flow.couplings.tie(found.outputs, found.hidden[: len(found.outputs)])
    return found


def _inputs(flow: Flow, node: Node) -> Ids:
    """Ids of what comes in along the last dimension; channels elsewhere are steps, or a batch."""
    source, last = node.args[0], len(shape_of(node.args[0])) - 1
    label = flow.label(source)
    if label is not None and label.dim == last:
        return label.ids
    flow.hold(source, f"{place(node)} has these channels as its steps, or as its batch")
    return fixed(shape_of(source)[last])


def _layer(flow: Flow, node: Node, gates: Gates, widths: Widths, reads: Ids, steps: int) -> None:
    """One direction of one layer: every gate has a row for every hidden unit.

    The product with the state writes what that with the input does, and counts as no other writer.
    """
    hidden, outputs = widths.hidden, widths.outputs
    rows = np.tile(hidden, flow.shapes[gates.reads][0] // len(hidden))
    for bias in gates.biases:
        flow.tie_weight(bias, 0, rows)
    products = [(gates.reads, reads, rows, True), (gates.recurs, outputs, rows, False)]
    products += [(gates.projects, hidden, outputs, True)] if gates.projects else []
    for name, columns, writes, dense in products:
        flow.tie_weight(name, 0, writes)
        flow.tie_weight(name, 1, columns)
        module = name.rpartition(".")[0] or module_of(node) or name
        flow.uses.append(Use(module, name, steps, "linear", columns, writes, 0, dense))


def _sizes(gates: Gates, widths: Widths) -> dict[str, Ids]:
    projected = {"proj_size": widths.outputs} if gates.projects else {}
    return {"hidden_size": widths.hidden, **projected}


def _remember(flow: Flow, node: Node, layers: list[Gates], sizes: dict[str, Ids]) -> None:
    """Note the sizes that modules which hold the weights, or run them, have as attributes."""
    owners = [gates.reads.rpartition(".")[0] for gates in layers]
    for module in dict.fromkeys((*owners, module_of(node))):
        held = flow.program.sizes.get(module, {})
        for name, ids in sizes.items():
            if held.get(name) == len(ids):
                first = flow.sizes.setdefault(f"{module}.{name}".lstrip("."), ids)
                flow.couplings.tie(first, ids)


def _states(node: Node) -> list[Any]:
    """The initial states: that of the outputs, then that of the cells if there are any."""
    given = argument(node, "hx")
    return list(given) if isinstance(given, list | tuple) else [given]


def _results(node: Node, states: int, widths: Widths, sequence: Ids) -> Labels:
    """Labels of the results: the whole sequence unless it is a single step, and the last states."""
    last = len(shape_of(node.args[0])) - 1
    ends = [Label(last, widths.outputs), Label(last, widths.hidden)][:states]
    if argument(node, "params") is not None:
        return [Label(last, sequence), *ends]
    return [*ends] if states > 1 else ends[0]
