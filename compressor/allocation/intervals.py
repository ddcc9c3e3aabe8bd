"""The inner maximum where tables over all levels are too large: levels merged into intervals.

An interval counts with the gain of its upper end and the cost of its lower end, so the maximum over
intervals is never below the maximum over levels. Once the intervals that attain it are single
levels the two are equal; so only those are split, again and again, and the rest stay coarse.
"""

from __future__ import annotations

import numpy as np

from compressor.allocation.elimination import Inner, Plan, maximise
from compressor.allocation.forms import Forms
from compressor.allocation.multipliers import Oracle, Seen
from compressor.allocation.problem import Floats, Integers
from compressor.allocation.relaxation import (
    constant,
    describe,
    inner_problem,
    make_plan,
    respond,
)

COUNTS = (48, 32, 24, 16, 12, 8)
"""Intervals that an axis begins with, the first number of these that is affordable."""
PARTS = 4
"""Parts that an interval is split into."""
REACH = 13
"""Doublings of the distance to the last maximum up to which intervals are laid around it."""
ROUNDS = 24
"""Most rounds of splitting for one price vector."""


class Intervals:
    """A partition of the levels of every axis into runs of neighbours.

    Args:
        forms: The problem.
        work: Most table entries for one elimination.
    """

    def __init__(self, forms: Forms, work: int) -> None:
        """Begin with intervals of geometrically growing length, as many as are affordable."""
        self._forms = forms
        self._work = work
        self._coarse = list[Integers]()
        for count in COUNTS:
            self._coarse = [_geometric(int(n), count) for n in forms.counts]
            if self._plan(self._coarse) is not None:
                break
        self._centre = forms.counts * 0

    @property
    def affordable(self) -> bool:
        """Whether even the coarsest intervals can be eliminated."""
        return self._plan(self._coarse) is not None

    def oracle(self, tolerance: float) -> Oracle:
        """At least D, and at most `tolerance` above it where the work allows."""

        def evaluate(y: Floats) -> tuple[float, Seen]:
            centres = zip(self._coarse, self._centre, self._forms.counts, strict=True)
            first = [np.union1d(c, _around(int(at), int(n))) for c, at, n in centres]
            if self._plan(first) is None:
                first = list(self._coarse)
            return self._refine(y, first, tolerance)

        return evaluate

    def _refine(self, y: Floats, first: list[Integers], tolerance: float) -> tuple[float, Seen]:
        """Split the intervals that attain the maximum until they are single levels."""
        forms = self._forms
        bound, point = np.inf, describe(forms, forms.counts * 0)
        for _ in range(ROUNDS):
            order = self._plan(first)
            if order is None:
                break
            value, cells = maximise(self._over(y, first), order)
            bound = min(bound, value + constant(forms, y))
            low = np.array([f[c] for f, c in zip(first, cells, strict=True)])
            point = max(
                point,
                describe(forms, respond(forms, y, low)),
                key=lambda seen: seen.gain - y @ seen.excess,
            )
            if bound - (point.gain - y @ point.excess) <= tolerance:
                break
            finer = [self._split(k, f, int(cells[k])) for k, f in enumerate(first)]
            if sum(map(len, finer)) == sum(map(len, first)):
                break
            first = finer
        self._centre = point.places
        return bound, point

    def _plan(self, first: list[Integers]) -> Plan | None:
        """An elimination order, or None where it takes more than the work allowed."""
        return make_plan(self._forms, np.array([len(f) for f in first]), self._work)

    def _over(self, y: Floats, partition: list[Integers]) -> Inner:
        """The inner problem with gains from upper and costs from lower ends."""
        forms = self._forms
        widths, gains = list[Floats](), list[Floats]()
        for first, start, count in zip(partition, forms.starts, forms.counts, strict=True):
            last = np.append(first[1:], count) - 1
            widths.append(forms.widths[start + first].astype(np.float64))
            gains.append(forms.gains[start + last])
        return inner_problem(forms, y, widths, gains)

    def _split(self, axis: int, first: Integers, cell: int) -> Integers:
        """The partition of one axis with one interval split."""
        stop = first[cell + 1] if cell + 1 < len(first) else self._forms.counts[axis]
        inside = np.linspace(first[cell], stop, PARTS + 1)[1:-1].round().astype(np.int64)
        return np.union1d(first, inside[inside < stop])


def _geometric(levels: int, count: int) -> Integers:
    """First places of about `count` intervals of `levels` places, the narrowest finest."""
    marks = np.geomspace(1, levels + 1, min(count, levels) + 1)[:-1]
    return np.unique(np.append(marks.astype(np.int64) - 1, levels - 1))


def _around(centre: int, levels: int) -> Integers:
    """First places of intervals that are single next to `centre` and double away from it."""
    away = 2 ** np.arange(REACH) - 1
    marks = np.concatenate((centre - away, centre + 1 + away, [0]))
    return np.unique(marks[(marks >= 0) & (marks < levels)])
