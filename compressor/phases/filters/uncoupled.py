"""The graph of single filters: the coupled graph with its couplings cut at every bank.

Every bank has units of its own, one for each of its filters and one for each of its inputs, and the
trunk's units keep what belongs to no bank. Costs, importance and surgery work as on the coupled
graph. Which inputs and trunk units stay when filters go, `compressor.phases.filters.reach` says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from compressor.graph.graph import ALWAYS, Axis, Dim, Graph, Site, Units, Weight
from compressor.phases.filters.bank import Bank, banks

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Numbers:
    """Numbers of a bank's units: coupled unit -> unit of the split graph.

    Attributes:
        filters: For every coupled unit that the bank writes, its filter; `ALWAYS` for others. A
            frozen unit keeps its own number.
        inputs: The same for what it reads; equal to `filters` where a filter reads itself alone.
    """

    filters: Units
    inputs: Units


@dataclass(frozen=True)
class Split:
    """A network as filters.

    Attributes:
        coupled: The graph that was split; its units are the first units of `graph`.
        graph: The graph of single filters.
        banks: The layers, in order of their first use.
        numbers: Of every bank, in the same order.
        free: Units of `graph` that are filters and may be removed.
    """

    coupled: Graph
    graph: Graph
    banks: tuple[Bank, ...]
    numbers: tuple[Numbers, ...]
    free: Bools

    def of(self, bank: int) -> Units:
        """The units of a bank's filters that may be removed."""
        found = self.numbers[bank].filters
        return found[found >= self.coupled.units]


def split(model: nn.Module, graph: Graph) -> Split:
    """Cut the couplings of a graph at every convolution and linear layer.

    Args:
        model: The model that `graph` was traced from.
        graph: Its graph, with its program. Frozen axes stay whole here, too.

    Raises:
        ValueError: If the graph has lost its program.
    """
    found = banks(model, graph)
    axes = list(graph.axes)
    numbers: list[Numbers] = []
    free: list[Units] = []
    for bank in found:
        sites = [site for site in graph.sites if site.weight == bank.weight]
        filters = _new_axes(graph, axes, sites[0].writes, bank.name)
        free.append(filters[filters >= graph.units])
        inputs = filters
        if bank.dense:
            inputs = _new_axes(graph, axes, sites[0].reads, f"{bank.name} (input)")
        numbers.append(Numbers(filters, inputs))
    removable = np.zeros(sum(axis.size for axis in axes), dtype=bool)
    removable[np.concatenate([np.zeros(0, np.int64), *free])] = True
    smaller = _relabelled(graph, tuple(axes), found, numbers)
    return Split(graph, smaller, found, tuple(numbers), removable)


def _new_axes(graph: Graph, axes: list[Axis], dim: Dim, name: str) -> Units:
    """Append axes for the free units of a dimension, one for each axis they come from."""
    number = np.full(graph.units, ALWAYS, dtype=np.int64)
    units = np.unique(dim.owner[dim.owner >= 0])
    for place, axis in enumerate(graph.axes):
        own = units[graph.axis_of[units] == place]
        if axis.frozen:
            number[own] = own
        elif len(own):
            first = sum(a.size for a in axes)
            axes.append(Axis(name, first, len(own), 1, (name,)))
            number[own] = np.arange(first, first + len(own))
    return number


def _relabelled(
    graph: Graph, axes: tuple[Axis, ...], found: tuple[Bank, ...], numbers: list[Numbers]
) -> Graph:
    """The graph with the banks' dimensions owned by their own units."""
    weights, channels = dict(graph.weights), dict(graph.channels)
    of_weight = {bank.weight: n for bank, n in zip(found, numbers, strict=True)}
    for bank, own in zip(found, numbers, strict=True):
        weights[bank.weight] = _renumbered(weights[bank.weight], own.filters, own.inputs)
        for name in bank.vectors:
            weights[name] = _renumbered(weights[name], own.filters, own.filters)
        for name, dim in graph.channels.items():
            if any(name == norm or name.startswith(f"{norm}.") for norm in bank.norms):
                channels[name] = _owned(dim, own.filters)
    sites = tuple(_site(site, of_weight.get(site.weight)) for site in graph.sites)
    return replace(
        graph, axes=axes, weights=weights, channels=channels, sites=sites, activations={},
        program=None,
    )  # fmt: skip


def _renumbered(weight: Weight, out: Units, others: Units) -> Weight:
    numbers = (out if place == weight.out_dim else others for place in range(len(weight.dims)))
    return replace(weight, dims=tuple(map(_owned, weight.dims, numbers)))


def _site(site: Site, own: Numbers | None) -> Site:
    if own is None:
        return site
    reads, writes = _owned(site.reads, own.inputs), _owned(site.writes, own.filters)
    return replace(site, reads=reads, writes=writes)


def _owned(dim: Dim, number: Units) -> Dim:
    owner, *also = (np.append(number, ALWAYS)[owner] for owner in dim.owners)
    return Dim(owner, *also)
