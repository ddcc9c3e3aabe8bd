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
            usable = direction > 1e-12  # a smaller pivot is rounding
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
        gain: Its objective; of a point between the levels, the interpolated one.
        excess: Its s, shape (R,).
    """

    places: Integers
    gain: float
    excess: Floats


@dataclass(frozen=True, eq=False)
class Dual:
    """Result of the minimisation.

    Attributes:
        bound: The lowest proven bound.
        prices: The y at the lowest point of the planes: zero for a cap that does not bind.
        seen: Every point met, in order.
        evaluations: Number of evaluations of D.
    """

    bound: float
    prices: Floats
    seen: tuple[Seen, ...]
    evaluations: int


Oracle = Callable[[Floats], tuple[float, Seen]]
"""Prices -> (a number that is at least D there, a point that nearly attains it)."""


@dataclass(frozen=True)
class Stopping:
    """When the minimisation ends.

    Attributes:
        tolerance: The planes prove that the bound can fall by no more than this.
        evaluations: So many evaluations were made.
        patience: So many evaluations in a row lowered the bound by less than the tolerance. For an
            oracle that over-estimates D, whose bound never meets the planes.
        target: The bound is no more than this, which is good enough.
    """

    tolerance: float
    evaluations: int = 40
    patience: int = 40
    target: float = -np.inf


def minimise(oracle: Oracle, smallest: Seen, start: Floats, stopping: Stopping) -> Dual:
    """Minimise D over the prices.

    Args:
        oracle: Evaluates D.
        smallest: The cheapest point, which meets every cap.
        start: Prices to look at first, shape (R,).
        stopping: When to end.
    """
    seen = [smallest]
    master = Master(smallest.gain, smallest.excess)
    best, at, y, lowest, news = np.inf, start, start, start, 0
    for evaluation in range(1, stopping.evaluations + 1):
        bound, point = oracle(y)
        news = evaluation if bound < best - stopping.tolerance else news
        improved = bound < best
        if improved:
            best, at = bound, y
        seen.append(point)
        master.add(point.gain, point.excess)
        lowest, floor = master.solve()
        if best - floor <= stopping.tolerance or evaluation - news >= stopping.patience:
            break
        if best <= stopping.target:
            break
        # Half-way to the best prices so far: the bare minimum of few planes swings wildly
        # (Wentges 1997). Where that point was no news, the bare minimum is the next to see.
        y = 0.5 * (at + lowest) if improved or evaluation % 2 else lowest
    return Dual(best, lowest, tuple(seen), len(seen) - 1)
