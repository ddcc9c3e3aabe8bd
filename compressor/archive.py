"""A structure as plain data and back, so that a small model can be rebuilt without tracing.

A graph's exported operations are left out: what remains says which entries of which tensor belong
to which unit, which is all that `compressor.surgery.cut` needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from compressor.graph import Axis, Dim, Graph, Site, Weight
from compressor.structure import Structure
from compressor.tracing.program import named_tensors

Data = dict[str, Any]


def pack(structure: Structure) -> Data:
    """The structure and its graph as data that JSON can hold."""
    graph = structure.graph
    return {
        "axes": [asdict(axis) for axis in graph.axes],
        "weights": {name: _weight(weight) for name, weight in graph.weights.items()},
        "sites": [_site(site) for site in graph.sites],
        "const_macs": graph.const_macs,
        "frozen": dict(graph.frozen),
        "channels": {name: runs(dim.owner) for name, dim in graph.channels.items()},
        "keep": runs(np.flatnonzero(structure.keep)),
    }


def unpack(data: Mapping[str, Any]) -> Structure:
    """The structure that `pack` was given; its graph has no exported operations."""
    axes = [_read_axis(axis) for axis in data["axes"]]
    graph = Graph(
        axes=tuple(axes),
        weights={name: _read_weight(weight) for name, weight in data["weights"].items()},
        sites=tuple(_read_site(site) for site in data["sites"]),
        const_macs=data["const_macs"],
        frozen=data["frozen"],
        channels={name: Dim(spell(owner)) for name, owner in data["channels"].items()},
    )
    keep = np.zeros(graph.units, dtype=bool)
    keep[spell(data["keep"])] = True
    return Structure(graph, keep)


def mismatches(model: nn.Module, graph: Graph) -> list[str]:
    """What of a model's parameters and buffers is not as a graph says, one line each."""
    found = {name: tuple(t.shape) for name, t in named_tensors(model)}
    wanted: dict[str, tuple[int, ...]] = {}
    for weight in graph.weights.values():
        shape = tuple(dim.size for dim in weight.dims)
        wanted |= dict.fromkeys((weight.name, *weight.aliases), shape)
    missing = [f"{name} {shape} is missing" for name, shape in wanted.items() if name not in found]
    extra = [f"{name} {shape} is new" for name, shape in found.items() if name not in wanted]
    other = [
        f"{name} is {found[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    return missing + extra + other


def runs(values: NDArray[np.int64]) -> list[list[int]]:
    """Integers as ``[first, step, count]`` runs, greedily.

    >>> runs(np.array([4, 5, 6, -1, -1]))
    [[4, 1, 3], [-1, 0, 2]]
    """
    found: list[list[int]] = []
    start, steps = 0, np.diff(values)
    while start < len(values):
        step = int(steps[start]) if start < len(steps) else 0
        breaks = np.flatnonzero(steps[start:] != step)
        count = int(breaks[0]) + 1 if len(breaks) else len(values) - start
        found.append([int(values[start]), step, count])
        start += count
    return found


def spell(compact: list[list[int]]) -> NDArray[np.int64]:
    """The integers that `runs` was given."""
    parts = [first + step * np.arange(count) for first, step, count in compact]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts]).astype(np.int64)


def _read_axis(data: Mapping[str, Any]) -> Axis:
    changed: Data = {"layers": tuple(data["layers"])}
    return Axis(**(dict(data) | changed))


def _weight(weight: Weight) -> Data:
    dims = [runs(dim.owner) for dim in weight.dims]
    return {**{k: v for k, v in vars(weight).items() if k != "dims"}, "dims": dims}


def _read_weight(data: Mapping[str, Any]) -> Weight:
    dims = tuple(Dim(spell(owner)) for owner in data["dims"])
    changed: Data = {"dims": dims, "aliases": tuple(data["aliases"])}
    return Weight(**(dict(data) | changed))


def _site(site: Site) -> Data:
    ends = {"reads": runs(site.reads.owner), "writes": runs(site.writes.owner)}
    return {**vars(site), **ends}


def _read_site(data: Mapping[str, Any]) -> Site:
    ends: Data = {end: Dim(spell(data[end])) for end in ("reads", "writes")}
    return Site(**(dict(data) | ends))
