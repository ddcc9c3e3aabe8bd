"""What is beaten by what, where several things are wanted at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def dominators(qualities: Floats) -> list[int | None]:
    """For each point the one that beats it: as good in everything, and better in something.

    Args:
        qualities: One row a point, shape (points, qualities), more is better: of a cost its
            negative.

    Returns:
        The place of the point of the front that beats it, of several the one with the most of the
        first quality; None for what is on the front itself.
    """
    one, other = qualities[:, None], qualities[None]
    beats = np.all(one >= other, axis=2) & np.any(one > other, axis=2)  # [a, b]: a beats b
    front = ~np.any(beats, axis=0)
    found: list[int | None] = []
    for place in range(len(qualities)):
        better = np.flatnonzero(front & beats[:, place])
        found.append(int(better[qualities[better, 0].argmax()]) if len(better) else None)
    return found


def staircase(costs: Floats, values: Floats) -> NDArray[np.int64]:
    """Places (front,) of the front of costs and values, both (points,), the cheapest first."""
    order = np.lexsort((-values, costs))
    best = np.maximum.accumulate(values[order])
    return order[np.diff(best, prepend=-np.inf) > 0]


def standard_error(values: Sequence[float]) -> float:
    """Standard error of the mean of some values; not a number where there is one."""
    count = len(values)
    return float(np.std(values, ddof=1) / math.sqrt(count)) if count > 1 else math.nan
