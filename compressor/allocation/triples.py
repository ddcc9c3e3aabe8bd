"""The products of three widths in the costs of a problem, over its free axes.

An axis g that moves alone sees such a product in one of three ways:

    once     w_g · w_j · w_k, and w_g · w_k² too: linear in w_g
    twice    w_g² · w_k: a square with a coefficient of its own
    a cube   w_g³
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from compressor.allocation.problem import Floats, Integers
from compressor.graph.graph import Polynomial

Numbers = TypeVar("Numbers", Integers, Floats)

SLOTS = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
"""Every factor of a product with the other two."""


class Once(NamedTuple):
    """Products that hold an axis once, ascending by that axis; all of shape (n,).

    Attributes:
        axis: The axis.
        left: One of the others.
        right: The other of the others; the same where it is squared.
        number: Which product it is.
    """

    axis: Integers
    left: Integers
    right: Integers
    number: Integers


class Twice(NamedTuple):
    """Products that hold the square of an axis, ascending by that axis; all of shape (n,).

    Attributes:
        axis: The axis.
        other: What its square is multiplied by.
        number: Which product it is.
    """

    axis: Integers
    other: Integers
    number: Integers


class Met(NamedTuple):
    """What a move of one axis changes elsewhere.

    Attributes:
        axes: The axes that pay another price for a unit, shape (n,), ascending.
        first: Where each of them begins in the terms that follow.
        factor: The axis that a term is multiplied by, shape (m,): the third one of a product, or
            the moved axis where its own square is in it.
        rates: Coefficients of the terms, shape (R, m).
        bent: The axes whose square has another price, shape (l,).
        bends: Coefficients of those, shape (R, l).
    """

    axes: Integers
    first: Integers
    factor: Integers
    rates: Integers
    bent: Integers
    bends: Integers


@dataclass(frozen=True, eq=False)
class Triples:
    """Products of three widths; R resources, F free axes, T products.

    Attributes:
        size: F.
        ends: The three axes of every product, ascending, shape (T, 3).
        rates: Shape (R, T).
    """

    size: int
    ends: Integers
    rates: Integers

    def __len__(self) -> int:
        """The number of products."""
        return len(self.ends)

    @cached_property
    def cubes(self) -> Integers:
        """Coefficients of the cubes, shape (R, F)."""
        total = np.zeros((len(self.rates), self.size), dtype=np.int64)
        cube = self.ends[:, 0] == self.ends[:, 2]
        total[:, self.ends[cube, 0]] = self.rates[:, cube]
        return total

    @cached_property
    def cubic(self) -> bool:
        """True if there is a cube."""
        return bool(self.cubes.any())

    @cached_property
    def once(self) -> Once:
        """Every axis of a product that is in it once."""
        parts = [self.ends[:, slots] for slots in SLOTS]
        alone = [np.flatnonzero((p[:, 0] != p[:, 1]) & (p[:, 0] != p[:, 2])) for p in parts]
        rows = np.concatenate([p[at] for p, at in zip(parts, alone, strict=True)])
        order = np.argsort(rows[:, 0], kind="stable")
        axis, left, right = rows[order].T
        return Once(axis, left, right, np.concatenate(alone)[order])

    @cached_property
    def twice(self) -> Twice:
        """Every axis of a product that is in it twice, and no third time."""
        i, j, k = self.ends.T
        low, high = np.flatnonzero((i == j) & (j != k)), np.flatnonzero((i != j) & (j == k))
        axis, other = np.concatenate((i[low], j[high])), np.concatenate((k[low], i[high]))
        order = np.argsort(axis, kind="stable")
        return Twice(axis[order], other[order], np.concatenate((low, high))[order])

    @cached_property
    def around(self) -> tuple[tuple[Once, Twice], ...]:
        """Both of the above for each axis alone."""
        cuts = np.arange(1, self.size)
        once = [np.split(part, np.searchsorted(self.once.axis, cuts)) for part in self.once]
        twice = [np.split(part, np.searchsorted(self.twice.axis, cuts)) for part in self.twice]
        single = zip(zip(*once, strict=True), zip(*twice, strict=True), strict=True)
        return tuple((Once(*one), Twice(*two)) for one, two in single)

    @cached_property
    def met(self) -> tuple[Met, ...]:
        """What a move of each axis changes elsewhere."""
        return tuple(self._met(axis, once, twice) for axis, (once, twice) in enumerate(self.around))

    def _met(self, axis: int, once: Once, twice: Twice) -> Met:
        """Collect what a move of one axis changes: its partners' prices, and their squares'."""
        both = once.left != once.right
        left, right, number = once.left[both], once.right[both], once.number[both]
        to = np.concatenate((left, right, twice.other))
        factor = np.concatenate((right, left, np.full(len(twice.other), axis)))
        rates = self.rates[:, np.concatenate((number, number, twice.number))]
        order = np.argsort(to, kind="stable")
        axes, first = np.unique(to[order], return_index=True)
        bends = self.rates[:, once.number[~both]]
        return Met(axes, first, factor[order], rates[:, order], once.left[~both], bends)

    def products(self, widths: Numbers) -> Numbers:
        """The products themselves, shape (T,)."""
        i, j, k = self.ends.T
        return widths[i] * widths[j] * widths[k]

    def marginal(self, widths: Integers) -> Integers:
        """What one more unit costs where an axis is in a product once, shape (R, F)."""
        axis, left, right, number = self.once
        return self._gathered(axis, self.rates[:, number] * (widths[left] * widths[right]))

    def bend(self, widths: Integers) -> Integers:
        """Coefficients of the squares of the axes, shape (R, F)."""
        axis, other, number = self.twice
        return self._gathered(axis, self.rates[:, number] * widths[other])

    def move(
        self, axis: int, step: int, widths: Integers, marginal: Integers, bend: Integers
    ) -> Integers:
        """Take a move of one axis, from its width in `widths`, into both kinds of prices.

        Returns what its cube costs, shape (R,). The other arrays are changed in place, but for the
        widths.
        """
        met, width = self.met[axis], int(widths[axis])
        if len(met.axes):
            factors = widths[met.factor]
            factors[met.factor == axis] = 2 * width + step
            terms = met.rates * (factors * step)
            marginal[:, met.axes] += np.add.reduceat(terms, met.first, axis=1)
        if len(met.bent):
            bend[:, met.bent] += met.bends * step
        return self.cubes[:, axis] * ((3 * width * (width + step) + step * step) * step)

    def at(self, axis: int, prices: Floats, widths: Integers) -> tuple[float, float, float]:
        """Priced coefficients of one axis' width, of its square, and of its cube."""
        once, twice = self.around[axis]
        linear = (prices @ self.rates[:, once.number]) @ (widths[once.left] * widths[once.right])
        square = (prices @ self.rates[:, twice.number]) @ widths[twice.other]
        return float(linear), float(square), float(prices @ self.cubes[:, axis])

    def meeting(self, widths: Integers, rows: Integers, columns: Integers) -> Integers:
        """What two moves at once cost beside what each costs alone; shape (R, F, F).

        Entry (g, h) is for axis g changed by ``rows[g]`` and axis h by ``columns[h]``, and is
        divided by both.
        """
        total = np.zeros((len(self.rates), self.size, self.size), dtype=np.int64)
        axis, left, right, number = (part[self.once.left != self.once.right] for part in self.once)
        rates = self.rates[:, number]
        _add(total, (axis, left), rates * widths[right])
        _add(total, (axis, right), rates * widths[left])
        axis, other, number = self.twice
        rates = self.rates[:, number]
        _add(total, (axis, other), rates * (2 * widths + rows)[axis])
        _add(total, (other, axis), rates * (2 * widths + columns)[axis])
        return total

    def _gathered(self, axis: Integers, values: Integers) -> Integers:
        """The sum of values of shape (R, n) by their axes, which ascend."""
        total = np.zeros((len(values), self.size), dtype=np.int64)
        if len(axis):
            first = np.flatnonzero(np.diff(axis, prepend=-1))
            total[:, axis[first]] = np.add.reduceat(values, first, axis=1)
        return total


def _add(total: Integers, at: tuple[Integers, Integers], values: Integers) -> None:
    """Add values of shape (R, n) at n places of each matrix, any of them several times."""
    for matrix, value in zip(total, values, strict=True):
        np.add.at(matrix, at, value)


def folded(cost: Polynomial, fixed: NDArray[np.bool_], widths: Integers) -> Polynomial:
    """The same cost where products of three hold no axis that is fixed: they are of lower degree.

    Fixed axes have the width that they have in `widths`.
    """
    const, linear = cost.const, [*cost.linear]
    pairs = Counter(dict(zip(cost.pairs, cost.coefs, strict=True)))
    triples: dict[tuple[int, int, int], int] = {}
    for axes, rate in zip(cost.triples, cost.rates, strict=True):
        left = [axis for axis in axes if not fixed[axis]]
        price = rate * prod(int(widths[axis]) for axis in axes if fixed[axis])
        match left:
            case []:
                const += price
            case [axis]:
                linear[axis] += price
            case [axis, other]:
                pairs[axis, other] += price
            case _:
                triples[axes] = price
    return replace(
        cost, const=const, linear=tuple(linear), pairs=tuple(pairs), coefs=tuple(pairs.values()),
        triples=tuple(triples), rates=tuple(triples.values()),
    )  # fmt: skip


def compile_triples(costs: Sequence[Polynomial], place: Integers, size: int) -> Triples:
    """The products of folded costs, whose axes have a `place` among `size` free ones."""
    union = sorted({triple for cost in costs for triple in cost.triples})
    number = {triple: t for t, triple in enumerate(union)}
    rates = np.zeros((len(costs), len(union)), dtype=np.int64)
    for r, cost in enumerate(costs):
        for triple, rate in zip(cost.triples, cost.rates, strict=True):
            rates[r, number[triple]] = rate
    return Triples(size, place[np.array(union, dtype=np.int64).reshape(-1, 3)], rates)
