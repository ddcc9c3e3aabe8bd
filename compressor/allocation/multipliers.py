"""Prices of the caps: the minimum of the Lagrangian dual, by cutting planes.

With the part of cap r that a point w overspends, ``s_r(w) = cost_r(w) / cap_r - 1``, the dual is

    D(y) = max over w of  gain(w) - y · s(w),        y >= 0

It is convex, and no feasible point gains more than ``D(y)`` for any y: every evaluation is a proven
bound. Every point w that is seen gives a plane ``gain(w) - y · s(w)`` below D; the lowest point of
their maximum is where to look next (Kelley 1960). That lowest point is the price vector of a tiny
linear program, the best mixture of the seen points that meets the caps on average (Dantzig and
Wolfe 1960), kept here by a simplex method with one row per cap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compressor.allocation.problem import Floats, Integers

PIVOTS = 200
"""Pivots of one master program; far more than it takes, a guard against cycling."""


class Master:
    """The best mixture of seen points that meets every cap on average.

    Args:
        gain: Objective of a point that meets every cap.
        excess: Its s, none positive, shape (R,).
    """

    def __init__(self, gain: float, excess: Floats) -> None:
        """Begin with the one mixture that is surely allowed."""
        rows = len(excess)
        self._columns = np.concatenate((np.eye(rows + 1)[:rows], [[*excess, 1.0]]))
        self._gains = np.concatenate((np.zeros(rows), [gain]))
        self._basis = list(range(rows + 1))

    def add(self, gain: float, excess: Floats) -> None:
        """Add a seen point."""
        self._columns = np.concatenate((self._columns, [[*excess, 1.0]]))
        self._gains = np.append(self._gains, gain)

    def solve(self) -> tuple[Floats, float]:
        """The prices y >= 0 at the lowest point of the planes, and the height there."""
        rows = len(self._basis)
        target = np.eye(rows)[-1]
        tolerance = 1e-11 * (1.0 + float(np.abs(self._gains).max()))
        prices = np.zeros(rows)
        for _ in range(PIVOTS):
            inverse = np.linalg.inv(self._columns[self._basis].T)
            prices = self._gains[self._basis] @ inverse
            reduced = self._gains - self._columns @ prices
            reduced[self._basis] = 0.0
            entering = int(reduced.argmax())
            if reduced[entering] <= tolerance:
                break
            direction = inverse @ self._columns[entering]
            level = np.maximum(inverse @ target, 0.0)
            ratio = np.full(rows, np.inf)
            usable = direction > 1e-12  # noqa: PLR2004 - a smaller pivot is rounding
            ratio[usable] = level[usable] / direction[usable]
            leaving = int(ratio.argmin())
            if not np.isfinite(ratio[leaving]):
                break
            self._basis[leaving] = entering
        return np.maximum(prices[:-1], 0.0), float(prices[-1])


@dataclass(frozen=True, eq=False)
class Seen:
    """A point met on the way.

    Attributes:
        places: Level of every free axis.
        gain: Its objective.
        excess: Its s, shape (R,).
    """

    places: Integers
    gain: float
    excess: Floats


@dataclass(frozen=True, eq=False)
class Dual:
    """What the minimisation found.

    Attributes:
        bound: The lowest proven bound.
        prices: The y it belongs to.
        seen: Every point met, in order.
        evaluations: How often D was evaluated.
    """

    bound: float
    prices: Floats
    seen: tuple[Seen, ...]
    evaluations: int


Oracle = Callable[[Floats], tuple[float, Integers]]
"""Prices -> (a number that is at least D, places of a point that is nearly as good)."""


def minimise(  # noqa: PLR0913 - a solver's settings
    oracle: Oracle,
    describe: Callable[[Integers], Seen],
    start: Floats,
    smallest: Integers,
    *,
    tolerance: float,
    limit: int,
) -> Dual:
    """Minimise D until the planes prove that `tolerance` is all there is to gain.

    Args:
        oracle: Evaluates D.
        describe: Gain and excess of a point.
        start: Prices to look at first.
        smallest: Places of a point that meets every cap.
        tolerance: Stop when the bound is this near to the lowest possible one.
        limit: Most evaluations.
    """
    seen = [describe(smallest)]
    master = Master(seen[0].gain, seen[0].excess)
    best, at, y, floor = np.inf, start, start, -np.inf
    for evaluation in range(1, limit + 1):
        bound, places = oracle(y)
        if bound < best:
            best, at = bound, y
        seen.append(describe(places))
        master.add(seen[-1].gain, seen[-1].excess)
        lowest, floor = master.solve()
        if best - floor <= tolerance:
            return Dual(best, at, tuple(seen), evaluation)
        # Half-way to the best prices so far: the bare minimum of few planes swings wildly
        # (Wentges 1997). Where that point was no news, the bare minimum is the next to see.
        y = 0.5 * (at + lowest) if bound <= best or evaluation % 2 else lowest
    return Dual(best, at, tuple(seen), limit)
