"""The best of several searches for a plan: one that stands still has others behind it."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.counting.memory.lifetimes import Lifetime, peak
from compressor.counting.memory.plan import Plan
from compressor.counting.memory.planning import plan

SEARCHES = 6
"""Most searches; one alone stays above the bound for some networks."""


def packed(lifetimes: Sequence[Lifetime]) -> Plan:
    """The smallest plan of some searches, the same in every process; see `planning.plan`."""
    bound, best = peak(lifetimes).bytes, plan(lifetimes)
    for seed in range(1, SEARCHES):
        if best.head <= bound:
            break
        best = min(best, plan(lifetimes, seed=seed), key=lambda found: found.head)
    return best
