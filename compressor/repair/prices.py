"""Error that is left after repair, by unit: the price of a unit when all others do their best.

From the dense network's own activations alone. A layer whose input loses a channel is repaired by
least squares; what remains of its error is known in closed form, without repairing anything: with
P the inverse of the products of its entries and W its weights, removing the entries S costs

    tr(W_S (P_SS)^-1 W_S^T)        and leaves        W - W_S (P_SS)^-1 P_S,   P - P_:S (P_SS)^-1 P_S

(Hassibi and Stork 1993, equations 5 and 6, for blocks; as OSSCAR does, Meng et al. 2024,
arXiv:2403.12983, section 3.2). So the units of an axis go one by one, each time the cheapest over
all layers that read it, and the price of each is its score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.graph.graph import Axis, Graph
from compressor.repair.activations import Reading
from compressor.repair.layers import Key
from compressor.repair.products import Products

PULL = 1e-3
"""Ridge in parts of the mean square of an entry: with few inputs, what they cannot tell apart."""

AT_ONCE = 64
"""Steps in which a wide axis is taken apart, about: in one of fewer units they go one by one."""


@dataclass
class _Reader:
    """A layer that reads an axis, as it is while units go.

    Attributes:
        weight: (out, entry), repaired so far.
        inverse: (entry, entry), of the products.
        entries: Numbers of the unit's entries, by unit in the axis.
        spread: What the layer's outputs vary by, in sum.
    """

    weight: Tensor
    inverse: Tensor
    entries: dict[int, Tensor]
    spread: float

    def prices(self, size: int) -> NDArray[np.float64]:
        """The error of going without each unit, in parts of the spread; zero for those gone."""
        found = np.zeros(size)
        by_size: dict[int, list[int]] = {}
        for unit, entries in self.entries.items():
            by_size.setdefault(len(entries), []).append(unit)
        for units in by_size.values():
            index = torch.stack([self.entries[unit] for unit in units])
            blocks = self.inverse[index[:, :, None], index[:, None, :]]
            own = self.weight[:, index].permute(1, 2, 0)  # (unit, entry, out)
            found[units] = (own * torch.linalg.solve(blocks, own)).sum((1, 2)).numpy() / self.spread
        return found

    def remove(self, units: list[int]) -> None:
        """Go on without some units."""
        gone = [self.entries.pop(unit) for unit in units if unit in self.entries]
        if not gone:
            return
        entries = torch.cat(gone)
        stays = torch.ones(len(self.inverse), dtype=torch.bool)
        stays[entries] = False
        rows = self.inverse[entries][:, stays]
        block = self.inverse[entries][:, entries]
        share = torch.linalg.solve(block, rows)
        self.weight = self.weight[:, stays] - self.weight[:, entries] @ share
        self.inverse = self.inverse[stays][:, stays] - rows.T @ share
        number = torch.cumsum(stays, 0) - 1
        self.entries = {unit: number[where] for unit, where in self.entries.items()}


def residuals(graph: Graph, readings: Mapping[Key, Reading]) -> NDArray[np.float64]:
    """Error after repair that every unit's removal adds, (units,), in parts of what outputs vary.

    Scores of different axes compare: sums over the layers that read them. Units that nothing reads
    (by a weight that is seen) score 0.
    """
    scores = np.zeros(graph.units)
    for axis in graph.axes:
        readers = [one for reading in readings.values() for one in _readers(graph, axis, reading)]
        if readers and axis.size:
            scores[axis.units] = _taken_apart(axis.size, readers)
    return scores


def _taken_apart(size: int, readers: list[_Reader]) -> NDArray[np.float64]:
    """Scores of an axis: the price of each unit when it went, or of one that went before."""
    scores, alive, highest = np.zeros(size), np.ones(size, dtype=bool), 0.0
    while alive.any():
        prices = sum((reader.prices(size) for reader in readers), np.zeros(size))
        left = np.flatnonzero(alive)
        count = max(1, min(size // AT_ONCE, len(left)))
        gone = left[np.argsort(prices[left], kind="stable")[:count]]
        for unit in gone.tolist():
            # Errors add up; a later one that seems cheaper would otherwise be taken first.
            highest = max(highest, float(prices[unit]))
            scores[unit] = highest
        alive[gone] = False
        for reader in readers:
            reader.remove(gone.tolist())
    return scores


def _readers(graph: Graph, axis: Axis, reading: Reading) -> list[_Reader]:
    """The groups of a layer that read an axis."""
    groups, _, entries = reading.matrix.shape
    channels = entries // reading.taps
    name = reading.layer.key[0]
    sites = (s for s in graph.sites if s.weight == name and s.dense)
    site = next((s for s in sites if s.reads.size == groups * channels), None)
    if site is None:
        return []
    products = reading.products.centred()
    found: list[_Reader] = []
    spreads = _spread(reading, products)
    for group in range(groups):
        part = slice(group * channels, (group + 1) * channels)
        owned = _owned(axis, [owner[part] for owner in site.reads.owners], reading.taps)
        if owned and spreads > 0:
            system = products.uu[group]
            size = float(system.diagonal().mean()) or 1.0
            ridge = PULL * size * torch.eye(entries, dtype=system.dtype)
            inverse = torch.linalg.inv(system + ridge)
            found.append(_Reader(reading.matrix[group].clone(), inverse, owned, spreads))
    return found


def _spread(reading: Reading, products: Products) -> float:
    """What the outputs of a layer vary by, in sum."""
    if products.yy.numel():
        return float(products.yy.sum())
    return float(((reading.matrix @ products.uu) * reading.matrix).sum())


def _owned(axis: Axis, owners: list[NDArray[np.int64]], taps: int) -> dict[int, Tensor]:
    """Numbers of the entries that hang on every unit of an axis, by unit in the axis."""
    found: dict[int, list[int]] = {}
    for owner in owners:
        for channel in np.flatnonzero((owner >= axis.first) & (owner < axis.first + axis.size)):
            entries = range(int(channel) * taps, (int(channel) + 1) * taps)
            found.setdefault(int(owner[channel]) - axis.first, []).extend(entries)
    return {unit: torch.tensor(entries) for unit, entries in found.items()}
