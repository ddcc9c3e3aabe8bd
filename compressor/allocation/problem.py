"""Number of units that each axis keeps, as a pure integer program.

    maximise    sum over axes g of  gain_g(w_g)
    subject to  cost_r(w) <= cap_r   for every capped resource r
                w_g in levels_g      for every axis g

The gains are any non-decreasing numbers, one per allowed width; the costs are the exact integer
polynomials of `compressor.graph.graph.Polynomial`, so they contain products of two or three
neighbouring widths and the program is not separable. All of its coefficients are non-negative: a
wider axis never costs less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compressor.graph.graph import Polynomial

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

RANGE = 2**62
"""Costs beyond this may not be whole numbers of 64 bits any more."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The integer program above.

    Attributes:
        levels: Allowed widths of each axis, ascending; an axis that is frozen has one.
        gains: Objective of each axis at each of its levels, non-decreasing.
        costs: Exact cost by resource.
        caps: Largest cost allowed by resource; the same keys as `costs`.
        scale: The difference in objective that counts as 100 % (`Objective.scale`): solvers stop
            at a small fraction of it.
        parts: The cap of a budget that a resource is one of several rows of, by resource; all
            others are caps of a budget themselves.
    """

    levels: tuple[Integers, ...]
    gains: tuple[Floats, ...]
    costs: Mapping[str, Polynomial]
    caps: Mapping[str, int]
    scale: float = 1.0
    parts: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Check what the solvers rely on."""
        for levels, gains in zip(self.levels, self.gains, strict=True):
            if not len(levels) or len(levels) != len(gains) or (np.diff(levels) <= 0).any():
                raise ValueError("every axis needs ascending levels and one gain for each.")
            if not np.isfinite(gains).all() or (np.diff(gains) < 0).any():
                raise ValueError("gains must be finite and must not fall as an axis grows.")
        if set(self.costs) != set(self.caps) or not self.caps:
            raise ValueError("a problem needs caps, and a cost for each of them.")
        if any(min(c.const, *c.linear, *c.coefs, *c.rates, 0) < 0 for c in self.costs.values()):
            raise ValueError("cost coefficients must not be negative.")
        for name, cost in self.costs.items():
            if cost.triples:
                _check_triples(name, cost, self.largest)

    @property
    def resources(self) -> tuple[str, ...]:
        """The capped resources; every array over resources is in this order."""
        return tuple(self.caps)

    @property
    def smallest(self) -> Integers:
        """The smallest allowed widths: the cheapest point in every resource at once."""
        return np.array([levels[0] for levels in self.levels], dtype=np.int64)

    @property
    def largest(self) -> Integers:
        """The largest allowed widths."""
        return np.array([levels[-1] for levels in self.levels], dtype=np.int64)

    def spent(self, widths: Integers) -> dict[str, int]:
        """Exact cost by resource, in Python integers."""
        return {name: cost(widths) for name, cost in self.costs.items()}

    def fits(self, widths: Integers) -> bool:
        """True if the exact cost is within every cap."""
        return all(spent <= self.caps[name] for name, spent in self.spent(widths).items())

    def unused(self, widths: Integers) -> dict[str, float]:
        """The part of every cap that is left, between 0 and 1 where the cap is met."""
        spent = self.spent(widths)
        return {name: (cap - spent[name]) / cap for name, cap in self.caps.items()}

    def value(self, widths: Integers) -> float:
        """Objective at these widths; a ValueError if one is not allowed."""
        total = 0.0
        for levels, gains, width in zip(self.levels, self.gains, widths, strict=True):
            place = int(np.searchsorted(levels, width))
            if place == len(levels) or levels[place] != width:
                raise ValueError(f"width {width} is not one of the allowed {levels}.")
            total += float(gains[place])
        return total


def _check_triples(name: str, cost: Polynomial, widths: Integers) -> None:
    """Check what the solvers rely on where a cost has products of three widths."""
    axes = range(len(widths))
    for i, j, k in cost.triples:
        if i not in axes or k not in axes or not i <= j <= k:
            raise ValueError(
                f"the cost {name!r} multiplies the widths of the axes {(i, j, k)}: three numbers "
                f"of axes between 0 and {len(widths) - 1} must ascend."
            )
    if len({*cost.triples}) < len(cost.triples):
        raise ValueError(f"the cost {name!r} names a product of three widths twice: add them up.")
    if (most := cost(widths)) > RANGE:
        raise ValueError(
            f"the cost {name!r} is {most:,} at full width, more than {RANGE:,}: count it in a "
            "larger unit."
        )


def allowed_widths(size: int, floor: int, round_to: int) -> Integers:
    """Widths an axis of `size` units may have: multiples of `round_to` from `floor`, and `size`.

    The full width is always allowed, so that a network may stay as it is; an axis narrower than
    the floor keeps everything.

    >>> allowed_widths(20, 3, 8)
    array([ 8, 16, 20])
    """
    first = -(-max(floor, 1) // round_to) * round_to
    multiples = np.arange(first, size, round_to, dtype=np.int64)
    return np.append(multiples, np.int64(size))
