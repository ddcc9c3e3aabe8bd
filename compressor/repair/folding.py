"""Removal that costs nothing: channels that say no more than others do, folded into their readers.

A channel that is always zero, that nothing reads, that equals another or is a linear combination of
others (at every layer that reads it, on the data) can go: its readers read the others instead, and
say the same. LinDeps (2025, arXiv:2507.21573, section 3) removes what pivoted QR finds dependent;
here the same is asked of all readers of an axis at once, taps included
(`compressor.repair.dependence`). That it costs nothing is checked on outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.graph.graph import Axis, Graph
from compressor.graph.structure import Structure
from compressor.repair.activations import Reading
from compressor.repair.applied import Key
from compressor.repair.dependence import NOTHING, RIDGE, Exact, combined, prices_of_going
from compressor.repair.prices import entries_of, unseen
from compressor.repair.products import Products
from compressor.repair.rows import as_matrix, as_weight, part_of

ENOUGH = 2
"""Rows an entry from which on dependence is believed; with fewer only zeros are."""


def redundant(
    graph: Graph,
    readings: Mapping[Key, Reading],
    *,
    among: NDArray[np.bool_] | None = None,
    sure: NDArray[np.bool_] | None = None,
    floor: int = 1,
    round_to: int = 1,
) -> Structure:
    """Keep what is needed: a structure without units that cost nothing.

    Args:
        graph: The network's graph.
        readings: Products of what every layer reads, in float64
            (`compressor.repair.activations.activations_of` with ``exact=True``).
        among: Boolean, one per unit: those that may go; None for all.
        sure: Boolean, one per unit: those that cost nothing whatever the data say; None for none.
        floor: Fewest units that any axis keeps.
        round_to: Keep multiples of so many units.
    """
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if axis.frozen or unseen(graph, axis, readings):
            continue
        readers = [one for reading in readings.values() for one in _exact(graph, axis, reading)]
        if not readers or any(reader.shares for reader in readers):
            continue
        may = np.ones(axis.size, dtype=bool) if among is None else among[axis.units]
        prices = prices_of_going(axis.size, readers, may)
        prices = prices if sure is None else np.where(sure[axis.units], 0.0, prices)
        least = max(floor, 1, int((prices > NOTHING).sum()))
        width = min(-(-least // round_to) * round_to, axis.size)
        order = np.argsort(prices, kind="stable")
        keep[axis.first + order[: axis.size - width]] = False
    return Structure(graph, keep)


def fold(
    model: nn.Module,
    structure: Structure,
    readings: Mapping[Key, Reading],
    *,
    twins: NDArray[np.int64] | None = None,
) -> None:
    """Have every layer read what is kept in the place of what is not, in place.

    The model computes what it did, with zeros for the weights that read what is to go.

    Args:
        model: Changed.
        structure: What is kept.
        readings: As for `redundant`.
        twins: By unit, the one that is read in its place, or -1 for its mean alone; None for the
            combination of all that are kept which says the same on the data.
    """
    parameters = dict(model.named_parameters())
    for (name, _), reading in readings.items():
        gone = _gone(structure, reading)
        if not any(bool(where.any()) for where in gone):
            continue
        weight, example = parameters[name], reading.layer.example
        biased = example.bias is not None
        products = _problem(reading)
        moved = torch.zeros(reading.products.y.shape, dtype=torch.float64)
        matrix = part_of(as_matrix(weight.detach().double().cpu(), example), example).clone()
        for group, where in enumerate(gone):
            if reading.merged:  # what goes is zero, or is not read
                matrix[group][:, where.repeat_interleave(matrix.shape[2] // len(where))] = 0
                continue
            share = _share(products.uu[group], where)
            if twins is not None:
                share = _by_twins(structure, twins, reading, group)[where][:, ~where]
            lost = matrix[group][:, where]
            matrix[group][:, ~where] += lost @ share
            matrix[group][:, where] = 0
            if biased:
                moved[group] = lost @ (products.u[group][where] - share @ products.u[group][~where])
        with torch.no_grad():
            whole = as_matrix(weight.detach().clone(), example)
            part_of(whole, example).copy_(matrix)
            weight.copy_(as_weight(whole, weight, example))
            if biased:
                bias = parameters[str(example.bias)].view(-1)
                part = moved.flatten().to(bias)
                bias[example.offset : example.offset + len(part)] += part


def _share(system: Tensor, gone: Tensor) -> Tensor:
    """The entries that go, as combinations of those that stay, (gone, kept)."""
    return combined(system[~gone][:, ~gone], system[~gone][:, gone]).T


def _by_twins(
    structure: Structure, twins: NDArray[np.int64], reading: Reading, group: int
) -> Tensor:
    """A one where an entry (row) is read as another (column), that of its unit's twin."""
    size = reading.matrix.shape[2]
    share = torch.zeros(size, size, dtype=torch.float64)
    for axis in structure.graph.axes:
        owned = entries_of(structure.graph, axis, reading)
        for unit, entries in owned[group].items() if owned else ():
            twin = owned[group].get(int(twins[axis.first + unit]) - axis.first)
            if twin is not None and len(twin) == len(entries):
                share[entries, twin] = 1
    return share


def _problem(reading: Reading) -> Products:
    """Mean products: around the means where a bias takes what is constant."""
    biased = reading.layer.example.bias is not None
    return reading.products.centred() if biased else reading.products.mean()


def _gone(structure: Structure, reading: Reading) -> list[Tensor]:
    """By group, the entries that hang on a unit that is not kept."""
    groups, _, entries = reading.matrix.shape
    gone = torch.zeros(groups, entries, dtype=torch.bool)
    for axis in structure.graph.axes:
        kept = structure.keep[axis.units]
        if kept.all():
            continue
        for group, owned in enumerate(entries_of(structure.graph, axis, reading)):
            for unit, where in owned.items():
                if not kept[unit]:
                    gone[group, where] = True
    return list(gone)


def _exact(graph: Graph, axis: Axis, reading: Reading) -> list[Exact]:
    """The groups of a layer that read an axis, without a pull."""
    products = _problem(reading)
    energy = ((reading.matrix @ products.uu) * reading.matrix).sum().item()
    spread = energy if energy > 0 else 1.0
    found: list[Exact] = []
    for group, entries in enumerate(entries_of(graph, axis, reading)):
        if not entries:
            continue
        system = products.uu[group]
        if reading.merged or reading.products.count < ENOUGH * len(system):
            system = system.diagonal().diag()
        ridge = RIDGE * (float(system.diagonal().mean()) or 1.0)
        found.append(Exact(reading.matrix[group], system, entries, spread, ridge))
    return found
