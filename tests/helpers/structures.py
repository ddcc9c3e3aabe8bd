"""Structures drawn at random, and the units that own given entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from compressor.graph.structure import Structure

if TYPE_CHECKING:
    from compressor.graph.graph import Graph
    from tests.zoo.planting import Entries


def any_widths(graph: Graph, seed: int) -> Structure:
    """A random number of units of every free axis, one at least."""
    random = np.random.default_rng(seed)
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if not axis.frozen:
            gone = random.permutation(axis.size)[random.integers(1, axis.size + 1) :]
            keep[axis.first + gone] = False
    return Structure(graph, keep)


def owners(graph: Graph, entries: Entries) -> list[int]:
    """Units without which these entries of a tensor are gone, and no others of it."""
    dim, found = graph.weights[entries.tensor].dims[entries.dim], list[int]()
    for unit in range(graph.units):
        keep = np.arange(graph.units) != unit
        if np.flatnonzero(~dim.alive(keep)).tolist() == sorted(entries.places):
            found.append(unit)
    return found
