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

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.graph.graph import Axis, Graph, Site
from compressor.repair.activations import Reading
from compressor.repair.applied import Key
from compressor.repair.products import Products

PULL = 1e-3
"""Ridge in parts of the mean square of an entry: with few inputs, what they cannot tell apart."""

STEPS = 512
"""Steps in which a wide axis is taken apart, about; in one of fewer units they go one by one."""


@dataclass
class Reader:
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
            if len(entries):  # others may have taken them along, where an entry hangs on two
                by_size.setdefault(len(entries), []).append(unit)
        for units in by_size.values():
            index = torch.stack([self.entries[unit] for unit in units])
            blocks = self.inverse[index[:, :, None], index[:, None, :]]
            own = self.weight[:, index].permute(1, 2, 0)  # (unit, entry, out)
            solved, failed = torch.linalg.solve_ex(blocks, own)
            prices = (own * solved).sum((1, 2)) / self.spread
            # What cannot be told is not cheap.
            found[units] = torch.where((failed > 0) | prices.isnan(), math.inf, prices).numpy()
        return found

    def remove(self, units: list[int]) -> None:
        """Go on without some units."""
        gone = [self.entries.pop(unit) for unit in units if unit in self.entries]
        if not gone:
            return
        entries = torch.cat(gone).unique()
        stays = torch.ones(len(self.inverse), dtype=torch.bool)
        stays[entries] = False
        rows = self.inverse[entries][:, stays]
        block = self.inverse[entries][:, entries]
        share, failed = torch.linalg.solve_ex(block, rows)
        if bool(failed) or not bool(share.isfinite().all()):
            share = torch.linalg.pinv(block, hermitian=True) @ rows
        self.weight = self.weight[:, stays] - self.weight[:, entries] @ share
        self.inverse = self.inverse[stays][:, stays] - rows.T @ share
        number = torch.cumsum(stays, 0) - 1
        self.entries = {unit: number[where[stays[where]]] for unit, where in self.entries.items()}


def residuals(graph: Graph, readings: Mapping[Key, Reading]) -> NDArray[np.float64]:
    """Error after repair that every unit's removal adds, (units,), in parts of what outputs vary.

    Scores of different axes compare: sums over the layers that read them. NaN where no layer that
    was seen reads a unit.
    """
    scores = np.full(graph.units, np.nan)
    for axis in graph.axes:
        readers = [one for reading in readings.values() for one in _readers(graph, axis, reading)]
        if readers and axis.size:
            at_once = max(1, axis.size // STEPS)
            prices = taken_apart(axis.size, readers, at_once=at_once)
            known = prices[np.isfinite(prices)]
            scores[axis.units] = np.minimum(prices, known.max() if len(known) else 1.0)
    return scores


def unseen(graph: Graph, axis: Axis, readings: Mapping[Key, Reading]) -> int:
    """Number of layers that read an axis and were not seen; one where no layer reads it at all."""
    seen = {reading.layer.key[0] for reading in readings.values()}
    sites = [site for site in graph.sites if site.dense and reads(site, axis)]
    missing = sum(site.weight not in seen for site in sites)
    return missing if sites else 1


def reads(site: Site, axis: Axis) -> bool:
    """True if a unit of an axis is among what a site reads."""
    owners = site.reads.owners
    return any(bool(((o >= axis.first) & (o < axis.first + axis.size)).any()) for o in owners)


def taken_apart(size: int, readers: Sequence[Reader], *, at_once: int = 1) -> NDArray[np.float64]:
    """Prices of the units of an axis: of each one when it went, or of one that went before.

    Args:
        size: Number of units.
        readers: The layers that read them; taken apart with them.
        at_once: Units that go in one step, priced as if each went alone.
    """
    prices, highest = np.full(size, math.inf), 0.0
    alive = np.ones(size, dtype=bool)
    while alive.any():
        now = sum((reader.prices(size) for reader in readers), np.zeros(size))
        left = np.flatnonzero(alive)
        gone = left[np.argsort(now[left], kind="stable")[:at_once]]
        for unit in gone.tolist():
            # Errors add up; a later one that seems cheaper would otherwise be taken first.
            highest = max(highest, float(now[unit]))
            prices[unit] = highest
        alive[gone] = False
        for reader in readers:
            reader.remove(gone.tolist())
    return prices


def _readers(graph: Graph, axis: Axis, reading: Reading) -> Iterator[Reader]:
    """The groups of a layer that read an axis, ready to be repaired with a bias of their own."""
    products = reading.products.centred()
    spread = _spread(reading, products)
    owned = entries_of(graph, axis, reading) if spread > 0 else []
    for group, entries in enumerate(owned):
        if entries:
            system = products.uu[group]
            size = float(system.diagonal().mean()) or 1.0
            ridge = PULL * size * torch.eye(len(system), dtype=system.dtype)
            inverse = torch.linalg.inv(system + ridge)
            yield Reader(reading.matrix[group].clone(), inverse, entries, spread)


def entries_of(graph: Graph, axis: Axis, reading: Reading) -> list[dict[int, Tensor]]:
    """Numbers of the entries that hang on the units of an axis, by group and by unit in the axis.

    Empty where the layer does not read channel by channel what the graph says.
    """
    groups, _, entries = reading.matrix.shape
    channels = entries // reading.taps
    sites = (s for s in graph.sites if s.weight == reading.layer.key[0] and s.dense)
    site = next((s for s in sites if s.reads.size == groups * channels), None)
    if site is None:
        return []
    parts = [slice(group * channels, (group + 1) * channels) for group in range(groups)]
    return [
        _owned(axis, [owner[part] for owner in site.reads.owners], reading.taps) for part in parts
    ]


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
