"""The costs of a problem as arrays over its free axes, so that many widths are priced at once.

An axis with a single level is folded into the constants. What is left, for resource r:

    cost_r(w) = const_r + linear_r · w + own_r · w² + sum over pairs i < j of coef_r,ij · w_i · w_j
                + what products of three widths cost (`triples`)

A point is an array of *places*: the number of the level that each free axis takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from compressor.allocation.problem import Floats, Integers, Problem
from compressor.allocation.triples import Triples, compile_triples, folded

DENSE = 400
"""Up to this many free axes the pair coefficients are also kept as full matrices."""


@dataclass(frozen=True, eq=False)
class Forms:
    """Integer cost forms over the free axes; R resources, F free axes, E pairs.

    Attributes:
        problem: Where they come from.
        free: Numbers of the free axes in the problem, shape (F,).
        const: Cost of everything that cannot change, shape (R,).
        linear: Shape (R, F).
        own: Coefficients of the squares, shape (R, F).
        ends: Both axes of every pair, shape (E, 2), by their place in `free`.
        coefs: Shape (R, E).
        triples: Products of three widths.
    """

    problem: Problem
    free: Integers
    const: Integers
    linear: Integers
    own: Integers
    ends: Integers
    coefs: Integers
    triples: Triples

    @cached_property
    def caps(self) -> Integers:
        """The caps, shape (R,)."""
        return np.array([*self.problem.caps.values()], dtype=np.int64)

    @cached_property
    def counts(self) -> Integers:
        """Number of levels of every free axis."""
        return np.array([len(self.problem.levels[g]) for g in self.free], dtype=np.int64)

    @cached_property
    def last(self) -> Integers:
        """Place of the last level of every free axis."""
        return self.counts - 1

    @cached_property
    def starts(self) -> Integers:
        """Index at which every free axis begins in `widths` and `gains`."""
        return np.concatenate(([0], np.cumsum(self.counts)[:-1])).astype(np.int64)

    @cached_property
    def widths(self) -> Integers:
        """All levels of all free axes, one after another."""
        return np.concatenate([self.problem.levels[g] for g in self.free])

    @cached_property
    def gains(self) -> Floats:
        """All gains of all free axes, one after another."""
        return np.concatenate([self.problem.gains[g] for g in self.free])

    @cached_property
    def couplings(self) -> tuple[sparse.csr_array, ...]:
        """For each resource the symmetric matrix of pair coefficients, shape (F, F)."""
        i, j = self.ends.T
        both, shape = (np.concatenate((i, j)), np.concatenate((j, i))), (len(self.free),) * 2
        parts = (np.concatenate((c, c)) for c in self.coefs)
        return tuple(sparse.csr_array((part, both), shape=shape) for part in parts)

    @cached_property
    def cross(self) -> Integers | None:
        """The same as one full array of shape (R, F, F); None where it would be large."""
        if len(self.free) > DENSE:
            return None
        return np.stack([matrix.toarray() for matrix in self.couplings])

    @cached_property
    def neighbours(self) -> tuple[tuple[Integers, Integers], ...]:
        """For each axis the axes it forms pairs with, and their coefficients, shape (R, degree)."""
        i, j = self.ends.T
        order = np.argsort(np.concatenate((i, j)), kind="stable")
        others = np.concatenate((j, i))[order]
        coefs = np.concatenate((self.coefs, self.coefs), axis=1)[:, order]
        degrees = np.bincount(self.ends.ravel(), minlength=len(self.free))
        stops = np.cumsum(degrees)
        return tuple(
            (others[stop - n : stop], coefs[:, stop - n : stop])
            for n, stop in zip(degrees.tolist(), stops.tolist(), strict=True)
        )

    def width(self, places: Integers) -> Integers:
        """Widths of the free axes at these places."""
        return self.widths[self.starts + places]

    def gain(self, places: Integers) -> float:
        """Objective of the free axes at these places."""
        return float(self.gains[self.starts + places].sum())

    def marginal(self, widths: Integers) -> Integers:
        """Cost of one more unit that comes from products, at these free widths, shape (R, F)."""
        if self.cross is not None:
            pairs = self.cross @ widths
        else:
            pairs = np.stack([matrix @ widths for matrix in self.couplings])
        return pairs + self.triples.marginal(widths) if len(self.triples) else pairs

    def bend(self, widths: Integers) -> Integers:
        """Coefficients of the squares, at these free widths, shape (R, F)."""
        return self.own + self.triples.bend(widths) if len(self.triples) else self.own

    def cost(self, widths: Integers) -> Integers:
        """Exact cost at these free widths, shape (R,)."""
        unary = self.linear @ widths + self.own @ (widths * widths)
        i, j = self.ends.T
        cost = self.const + unary + self.coefs @ (widths[i] * widths[j])
        if len(self.triples):
            cost += self.triples.rates @ self.triples.products(widths)
        return cost

    def change(
        self, widths: Integers, marginal: Integers, bend: Integers, steps: Integers
    ) -> Integers:
        """Cost of changing one axis alone by `steps` (per axis), for each axis; shape (R, F).

        `marginal` and `bend` are those at `widths`.
        """
        rate = marginal + self.linear + bend * (2 * widths + steps)
        if self.triples.cubic:
            rate += self.triples.cubes * (3 * widths * (widths + steps) + steps * steps)
        return rate * steps

    def everywhere(self, places: Integers) -> Integers:
        """Widths of all axes of the problem, shape (axes,)."""
        widths = self.problem.smallest
        widths[self.free] = self.width(places)
        return widths

    def nearest(self, widths: NDArray[np.float64] | Integers) -> Integers:
        """Places of the largest levels that are not above these free widths."""
        pairs = zip((self.problem.levels[g] for g in self.free), widths, strict=True)
        places = [np.searchsorted(levels, width, side="right") - 1 for levels, width in pairs]
        return np.maximum(np.array(places, dtype=np.int64), 0)


def compile_forms(problem: Problem) -> Forms:
    """Fold the axes that cannot change into the constants."""
    width, costs = problem.smallest, [problem.costs[r] for r in problem.resources]
    free = np.flatnonzero([len(levels) > 1 for levels in problem.levels]).astype(np.int64)
    place = np.full(len(width), -1, dtype=np.int64)
    place[free] = np.arange(len(free))
    fixed = place < 0
    costs = [folded(cost, fixed, width) if cost.triples else cost for cost in costs]
    union = sorted({pair for cost in costs for pair in cost.pairs})
    number = {pair: e for e, pair in enumerate(union)}
    coefs = np.zeros((len(costs), len(union)), dtype=np.int64)
    for r, cost in enumerate(costs):
        for pair, coef in zip(cost.pairs, cost.coefs, strict=True):
            coefs[r, number[pair]] = coef
    linear = np.array([cost.linear for cost in costs], dtype=np.int64)
    const = np.array([cost.const for cost in costs], dtype=np.int64)
    i, j = np.array(union, dtype=np.int64).reshape(-1, 2).T
    both = fixed[i] & fixed[j]
    const += linear[:, fixed] @ width[fixed] + coefs[:, both] @ (width[i[both]] * width[j[both]])
    for end, other in ((i, j), (j, i)):
        half = ~fixed[end] & fixed[other]
        for r in range(len(linear)):
            np.add.at(linear[r], end[half], coefs[r, half] * width[other[half]])
    square = ~fixed[i] & (i == j)
    own = np.zeros((len(linear), len(free)), dtype=np.int64)
    own[:, place[i[square]]] = coefs[:, square]
    pair = ~fixed[i] & ~fixed[j] & (i != j)
    ends = np.stack((place[i[pair]], place[j[pair]]), axis=1)
    triples = compile_triples(costs, place, len(free))
    return Forms(problem, free, const, linear[:, free], own, ends, coefs[:, pair], triples)
