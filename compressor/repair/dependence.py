"""Units that are combinations of others, in all layers that read them at once.

Units that cost nothing while all others stay (`compressor.repair.prices`, without a ridge) are
candidates: of two that are equal both are. They join those that are needed one by one, the one that
has most to add first, until none has anything to add: Cholesky's method with pivots, in blocks of
a unit's entries, for all readers together. It stays exact where products have no inverse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.repair.prices import Reader

NOTHING = 1e-11
"""The price, in parts of what outputs vary by, up to which a unit costs nothing: the square of a
few units in the last place of float32."""

RIDGE = 1e-13
"""In parts of the mean square of an entry: dependent entries have no inverse without one."""


def prices_of_going(
    size: int, readers: Sequence[Exact], among: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What going without each unit costs beside those that cost infinity, all others gone too."""
    alone = sum((reader.alone(size) for reader in readers), np.zeros(size))
    left = among & (alone <= NOTHING)
    rests = [reader.beside(np.flatnonzero(left).tolist()) for reader in readers if left.any()]
    prices = np.full(size, math.inf)
    while left.any():
        now = sum((rest.prices(size) for rest in rests), np.zeros(size))
        prices[left] = now[left]
        most = int(np.argmax(np.where(left, now, -math.inf)))
        if now[most] <= NOTHING:
            break
        prices[most], left[most] = math.inf, False
        for rest in rests:
            rest.join(most)
    return prices


@dataclass
class Rest:
    """What units of an axis add to those that have joined so far, in a layer that reads them.

    Attributes:
        system: (entry, entry), what is left of the products.
        loads: Products of a unit's weights, (entry, entry) of its own, by unit.
        entries: Numbers of a unit's entries, by unit.
        spread: What the layer's outputs vary by, in sum.
        least: Eigenvalues up to here are rounding.
    """

    system: Tensor
    loads: dict[int, Tensor]
    entries: dict[int, Tensor]
    spread: float
    least: float

    def prices(self, size: int) -> NDArray[np.float64]:
        """The error of going without each unit, in parts of the spread."""
        found = np.zeros(size)
        for unit, where in self.entries.items():
            block = self.system[where][:, where]
            found[unit] = max(float((self.loads[unit] * block).sum()), 0.0) / self.spread
        return found

    def join(self, unit: int) -> None:
        """Have a unit join: what others say of the same kind is theirs no more."""
        where = self.entries.pop(unit, None)
        if where is None:
            return
        values, vectors = torch.linalg.eigh(self.system[where][:, where])
        some = values > self.least
        rows = self.system[:, where] @ (vectors[:, some] * values[some].rsqrt())
        self.system = self.system - rows @ rows.T


@dataclass(frozen=True)
class Exact:
    """A layer that reads an axis: its weight (out, entry), products, and which entries are whose.

    Attributes:
        ridge: What is added to the products where they are inverted.
    """

    weight: Tensor
    system: Tensor
    entries: dict[int, Tensor]
    spread: float
    ridge: float

    @property
    def shares(self) -> bool:
        """True where an entry hangs on two units of the axis."""
        every = torch.cat(list(self.entries.values()))
        return len(every.unique()) < len(every)

    def alone(self, size: int) -> NDArray[np.float64]:
        """What each unit costs while all others stay."""
        ridge = self.ridge * torch.eye(len(self.system), dtype=self.system.dtype)
        inverse, failed = torch.linalg.inv_ex(self.system + ridge)
        if bool(failed):  # of sizes so far apart that the ridge is rounded off: zeros alone
            inverse = torch.linalg.inv(self.system.diagonal().diag() + ridge)
        return Reader(self.weight, inverse, dict(self.entries), self.spread).prices(size)

    def beside(self, units: list[int]) -> Rest:
        """What some units add to all other entries of the layer."""
        some = {unit: self.entries[unit] for unit in units if unit in self.entries}
        mine = torch.cat([torch.zeros(0, dtype=torch.long), *some.values()])
        number = torch.full((len(self.system),), -1)
        number[mine] = torch.arange(len(mine))
        others = number < 0
        rest = self.system[mine][:, mine]
        if bool(others.any()):
            share = combined(self.system[others][:, others], self.system[others][:, mine])
            rest = rest - self.system[mine][:, others] @ share
        loads = {
            unit: self.weight[:, where].T @ self.weight[:, where] for unit, where in some.items()
        }
        return Rest(
            rest, loads, {unit: number[where] for unit, where in some.items()}, self.spread,
            self.ridge,
        )  # fmt: skip


def combined(kept: Tensor, others: Tensor) -> Tensor:
    """Combinations of kept entries that come nearest to others, (kept, others)."""
    ridge = RIDGE * (float(kept.diagonal().mean()) or 1.0)
    system = kept + ridge * torch.eye(len(kept), dtype=kept.dtype)
    found, failed = torch.linalg.solve_ex(system, others)
    if bool(failed):  # of sizes so far apart that the ridge is rounded off
        found = torch.linalg.pinv(kept, hermitian=True) @ others
    return found
