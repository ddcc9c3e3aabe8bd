"""Objectives of an allocation, as values: one gain per axis and width, added over the axes.

With ``s(1) >= s(2) >= …`` the sorted scores of an axis of n units, ``S(w) = s(1) + … + s(w)`` and
m the number of layers that write it:

    LogRetention   m · log(S(w) / S(n))
    LogWidth       m · log(w / n)
    Mix(a)         a · LogRetention + (1 - a) · LogWidth
    PowerMean(p)   m · (1 - (S(w) / S(n))^-p) / p
    Additive       S(w)

The sum of kept scores (`Additive`) looks natural and is a trap: a cost is made of products
``w_in · w_out``, so its optimum alternates wide layers with layers of a single unit. A sum of
logarithms, that is a product of retained parts, cannot trade one layer for another in this way.
An axis that several layers write (the trunk of a residual stage) is as many layers' retention,
hence m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from compressor.allocation.problem import Floats, Integers


class Objective(Protocol):
    """Objective of an allocation. Any object with these methods will do."""

    def gains(self, scores: Floats, levels: Integers, writers: int) -> Floats:
        """Objective of one axis at each of its `levels`; finite and non-decreasing.

        Args:
            scores: Scores of its units, in any order, non-negative and finite.
            levels: Ascending widths between 1 and ``len(scores)``.
            writers: How many layers write it.
        """
        ...

    def scale(self, full: Floats, writers: NDArray[np.int64]) -> float:
        """The difference in objective that counts as 100 %.

        Args:
            full: Gain of every free axis at full width.
            writers: Number of writers of every free axis.
        """
        ...

    def gap(self, value: float, bound: float, scale: float) -> float:
        """Largest distance of `value` from the optimum, as a part of it; 0 where it is optimal."""
        ...


def is_objective(value: object) -> bool:
    """True if a value has the methods of an `Objective` (a class of them has not)."""
    methods = ("gains", "scale", "gap")
    return not isinstance(value, type) and all(callable(getattr(value, m, None)) for m in methods)


def retained(scores: Floats, levels: Integers) -> Floats:
    """Part of the total score that the best units hold: ``S(w) / S(n)`` at each level.

    It is at least ``w / n`` however the scores are distributed, because the best units hold at
    least the average. Dividing by the largest score first keeps that true in floating point, where
    a plain sum may overflow or vanish. Scores that are all zero say nothing, so that all units
    count alike and ``w / n`` is retained.
    """
    highest = scores.max()
    relative = scores / highest if highest > 0 else np.ones_like(scores)
    held = np.cumsum(np.sort(relative)[::-1])
    return np.maximum(held[levels - 1] / held[-1], levels / len(scores))


class _Logarithmic:
    """Common part of sums of logarithms, each axis weighted by its writers."""

    def scale(self, full: Floats, writers: NDArray[np.int64]) -> float:
        """The total weight m: the objective divided by it is the log of a geometric mean."""
        del full
        return float(writers.sum())

    def gap(self, value: float, bound: float, scale: float) -> float:
        """Largest shortfall of the weighted geometric mean: ``1 - exp(-difference / m)``."""
        return -math.expm1(-max(bound - value, 0.0) / scale) if scale else 0.0


@dataclass(frozen=True)
class LogRetention(_Logarithmic):
    """Logarithm of the retained part of the score, each axis weighted by its writers."""

    def __str__(self) -> str:
        """Its name for people."""
        return "log retention"

    def gains(self, scores: Floats, levels: Integers, writers: int) -> Floats:
        """``m · log(S(w) / S(n))``; see `retained` for scores of zero."""
        return writers * np.minimum(np.log(retained(scores, levels)), 0.0)


@dataclass(frozen=True)
class LogWidth(_Logarithmic):
    """Logarithm of the kept part of the width, each axis weighted by its writers."""

    def __str__(self) -> str:
        """Its name for people."""
        return "log width"

    def gains(self, scores: Floats, levels: Integers, writers: int) -> Floats:
        """``m · log(w / n)``."""
        return writers * np.log(levels / len(scores))


@dataclass(frozen=True)
class Mix(_Logarithmic):
    """A weighted mean of `LogRetention` and `LogWidth`.

    Attributes:
        share: Weight of `LogRetention`, between 0 and 1.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        """Check the share."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"Mix(share={self.share}): the share must be between 0 and 1.")

    def __str__(self) -> str:
        """Its name for people."""
        return f"{self.share:.0%} log retention and {1 - self.share:.0%} log width"

    def gains(self, scores: Floats, levels: Integers, writers: int) -> Floats:
        """``m · (a · log(S(w) / S(n)) + (1 - a) · log(w / n))``."""
        retention = LogRetention().gains(scores, levels, writers)
        return self.share * retention + (1 - self.share) * LogWidth().gains(scores, levels, writers)


@dataclass(frozen=True)
class PowerMean(_Logarithmic):
    """The weighted power mean, of exponent -p, of the retained parts.

    Between the geometric mean (p -> 0, `LogRetention`) and the minimum (p -> infinity, all axes
    retain alike, as under one width factor): the larger p, the less one axis can make up for
    another.

    Attributes:
        power: p, positive; 1 is the harmonic mean.
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        """Check the power."""
        if not 0 < self.power <= 16:
            raise ValueError(
                f"PowerMean(power={self.power}): the power must be above 0 and at most 16; for 0 "
                "take LogRetention()."
            )

    def __str__(self) -> str:
        """Its name for people."""
        return "harmonic mean" if self.power == 1 else f"power mean of -{self.power:g}"

    def gains(self, scores: Floats, levels: Integers, writers: int) -> Floats:
        """``m · (1 - (S(w) / S(n))^-p) / p``, which tends to that of `LogRetention` with p to 0."""
        part = np.minimum(retained(scores, levels), 1.0)
        return -writers * np.expm1(-self.power * np.log(part)) / self.power

    def gap(self, value: float, bound: float, scale: float) -> float:
        """Largest possible shortfall of the weighted power mean of the retained parts."""
        if not scale:
            return 0.0
        mean, best = (1 - self.power * x / scale for x in (value, min(bound, 0.0)))
        return max(0.0, 1 - (best / mean) ** (1 / self.power))


@dataclass(frozen=True)
class Additive:
    """The sum of the kept scores, as they are: scores of different axes are compared directly.

    Kept for comparison; see the head of this file for why it starves layers.
    """

    def __str__(self) -> str:
        """Its name for people."""
        return "sum"

    def gains(self, scores: Floats, levels: Integers, writers: int) -> Floats:
        """``S(w)``."""
        del writers
        return np.cumsum(np.sort(scores)[::-1])[levels - 1]

    def scale(self, full: Floats, writers: NDArray[np.int64]) -> float:
        """The sum of all scores that can be lost."""
        del writers
        return float(full.sum())

    def gap(self, value: float, bound: float, scale: float) -> float:
        """``1 - value / bound``: the part of the best possible sum that may be missing."""
        del scale
        return 1 - value / bound if bound > value else 0.0
