"""Maximise the objective under all caps jointly, with a proven bound.

1. Price the caps (`multipliers`): a Lagrangian dual with one price per cap. Its inner maximum is
   solved exactly by elimination where the tables are small (`elimination`); else it is bounded in
   log-widths (`logwidths`), and, if that leaves a gap, by elimination with large tables or over
   intervals of levels (`intervals`).
2. Turn the points met on the way into feasible ones: trim, fill, exchange (`filling`).

The bound holds for the declared objective whatever the second part does. The joint problem is a
knapsack with products, NP-hard in general, so what is proven is a gap, not optimality.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from compressor.allocation.allocation import Solution
from compressor.allocation.filling import State, exchange, fill, trim
from compressor.allocation.forms import Forms, compile_forms
from compressor.allocation.intervals import Intervals
from compressor.allocation.logwidths import LogWidths
from compressor.allocation.multipliers import Dual, Oracle, Seen, Stopping, minimise
from compressor.allocation.problem import Floats, Problem
from compressor.allocation.relaxation import describe, exact_oracle, make_plan, respond

EASY_WORK = 3_000_000
"""Table entries of one elimination on all levels, up to which nothing else is tried first."""
EXACT_WORK = 50_000_000
"""The same, up to which it is tried at all."""
INTERVAL_WORK = 1_500_000
"""The same for one elimination over intervals, of which there are many more."""
PRECISION = 2e-5
"""Part of the objective's scale to which the dual is minimised."""
ENOUGH = 5e-4
"""A gap, as a part of the scale, with which the bound in log-widths is good enough."""
SMALL = 64
"""Up to this many free axes local search is thorough."""


def dual(problem: Problem) -> Solution:
    """Solve the integer program nearly, and bound what is missing.

    Args:
        problem: Its smallest widths must fit all caps.

    Returns:
        Widths that fit, a bound that no fitting widths exceed, and prices: the objective that one
        unit more of each cap would add.
    """
    forms = compile_forms(problem)
    if not len(forms.free):
        return Solution(problem.smallest, problem.value(problem.smallest))
    fixed = problem.value(forms.everywhere(forms.counts * 0)) - forms.gain(forms.counts * 0)
    order = make_plan(forms, forms.counts, EASY_WORK)
    if order is not None:
        found = _minimise(forms, exact_oracle(forms, order))
        point = best_point(forms, found.seen, found.prices)
    else:
        found, point = _without_tables(forms)
    places = point.places
    value = forms.gain(places)
    prices = found.prices / forms.caps
    return Solution(
        forms.everywhere(places),
        max(found.bound, value) + fixed,
        {r: float(p) for r, p in zip(problem.resources, prices, strict=True)},
        found.evaluations,
    )


def _minimise(forms: Forms, oracle: Oracle) -> Dual:
    """Minimise the dual from prices at which all caps weigh alike."""
    scale = forms.problem.scale
    start = np.full(len(forms.caps), 0.5 * scale)
    return minimise(oracle, describe(forms, forms.counts * 0), start, Stopping(PRECISION * scale))


def _without_tables(forms: Forms) -> tuple[Dual, State]:
    """Bound in log-widths first; if that leaves a gap, from its prices on with large tables."""
    scale, smallest = forms.problem.scale, describe(forms, forms.counts * 0)
    start = np.full(len(forms.caps), 0.5 * scale)
    rough = Stopping(PRECISION * scale, patience=6)
    crude = minimise(LogWidths(forms).oracle(), smallest, start, rough)
    ends = [crude.seen[-1].places, min(crude.seen, key=_violation).places]
    responses = [describe(forms, respond(forms, crude.prices, places)) for places in ends]
    point = best_point(forms, (*crude.seen[-3:], *responses, smallest), crude.prices)
    enough = forms.gain(point.places) + ENOUGH * scale
    oracle = None if crude.bound <= enough else _large_oracle(forms)
    if oracle is None:
        return crude, point
    stopping = Stopping(PRECISION * scale, evaluations=25, patience=12, target=enough)
    fine = minimise(oracle, smallest, crude.prices, stopping)
    other = best_point(forms, fine.seen, fine.prices)
    best = max(point, other, key=lambda state: forms.gain(state.places))
    bound = min(crude.bound, fine.bound)
    return Dual(bound, fine.prices, fine.seen, crude.evaluations + fine.evaluations), best


def _large_oracle(forms: Forms) -> Oracle | None:
    """Elimination on all levels, else over intervals, else nothing."""
    order = make_plan(forms, forms.counts, EXACT_WORK)
    if order is not None:
        return exact_oracle(forms, order)
    intervals = Intervals(forms, INTERVAL_WORK)
    return intervals.oracle(PRECISION * forms.problem.scale) if intervals.affordable else None


def _violation(point: Seen) -> float:
    """By how much a point misses the tightest cap, on either side."""
    return abs(float(point.excess.max()))


def best_point(forms: Forms, seen: Iterable[Seen], y: Floats) -> State:
    """The best feasible point near the given ones.

    Args:
        forms: The problem.
        seen: Points, feasible or not.
        y: Prices of the caps; those nearest to the maximum at these prices are tried.
    """
    small = len(forms.free) <= SMALL
    ranked = sorted(seen, key=lambda point: y @ point.excess - point.gain)
    distinct = {point.places.tobytes(): point for point in reversed(ranked)}
    tried = list(reversed(distinct.values()))[: 12 if small else 4]
    prices = y / forms.caps
    states = [State.at(forms, point.places) for point in tried]
    for state in states:
        trim(state, prices)
        fill(state, prices)
    states.sort(key=lambda state: -forms.gain(state.places))
    reach = min(4, max(1, SMALL // len(forms.free)))
    for state in states[: 4 if small else 1]:
        exchange(state, prices, reach=reach, limit=60 if small else 20)
    return max(states, key=lambda state: forms.gain(state.places))
