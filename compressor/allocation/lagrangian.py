"""Maximise the objective under all caps jointly, with a proven bound.

1. Price the caps (`multipliers`): a Lagrangian dual with one price per cap. Its inner maximum is
   solved exactly by elimination where the tables are small (`elimination`); else it is bounded in
   log-widths (`logwidths`), and, if that leaves a gap, by elimination with large tables as far as
   they can be had.
2. Turn the points met on the way into feasible ones: trim, fill, exchange (`filling`).

The bound holds for the declared objective whatever the second part does. The joint problem is a
knapsack with products, NP-hard in general, so what is proven is a gap, not optimality.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from compressor.allocation.allocation import Solution
from compressor.allocation.filling import State, exchange, fill, trim
from compressor.allocation.forms import Forms, compile_forms
from compressor.allocation.logwidths import LogWidths
from compressor.allocation.multipliers import Dual, Seen, Stopping, minimise
from compressor.allocation.problem import Floats, Problem
from compressor.allocation.relaxation import describe, exact_oracle, make_plan, respond


@dataclass(frozen=True)
class Effort:
    """Effort to spend.

    Attributes:
        easy_work: Table entries of one elimination up to which it is done straight away.
        exact_work: Table entries of one elimination up to which it is done at all.
        precision: Part of the objective's scale to which the dual is minimised.
        enough: A gap, as a part of the scale, with which the bound in log-widths is good enough.
    """

    easy_work: int = 3_000_000
    exact_work: int = 50_000_000
    precision: float = 2e-5
    enough: float = 1e-3


DEFAULT = Effort()
SMALL = 64
"""Up to this many free axes local search is thorough."""
FEW = 4
"""Points that are made feasible in any case."""
NEAR = 0.1
"""Part of a cap within which a point is near enough to be made feasible cheaply."""


def dual(problem: Problem, effort: Effort = DEFAULT) -> Solution:
    """Solve the integer program, whose smallest widths must fit, nearly; bound what is missing.

    Returns:
        Widths that fit, a bound that no fitting widths exceed, and prices: the objective that one
        unit more of each cap would add.
    """
    forms = compile_forms(problem)
    if not len(forms.free):
        return Solution(problem.smallest, problem.value(problem.smallest))
    fixed = problem.value(forms.everywhere(forms.counts * 0)) - forms.gain(forms.counts * 0)
    order = make_plan(forms, forms.counts, effort.easy_work)
    if order is not None:
        stopping = Stopping(effort.precision * problem.scale)
        found = minimise(exact_oracle(forms, order), *_start(forms), stopping)
        point = best_point(forms, found.seen, found.prices)
    else:
        found, point = _hard(forms, effort)
    prices = found.prices / forms.caps
    return Solution(
        forms.everywhere(point.places),
        found.bound + fixed,
        {r: float(p) for r, p in zip(problem.resources, prices, strict=True)},
        found.evaluations,
    )


def _start(forms: Forms) -> tuple[Seen, Floats]:
    """The cheapest point, and prices at which all caps weigh alike."""
    prices = np.full(len(forms.caps), 0.5 * forms.problem.scale)
    return describe(forms, forms.counts * 0), prices


def _hard(forms: Forms, effort: Effort) -> tuple[Dual, State]:
    """Bound in log-widths first; if that leaves a gap, from its prices on with large tables."""
    scale = forms.problem.scale
    smallest, start = _start(forms)
    rough = Stopping(effort.precision * scale, patience=6)
    crude = minimise(LogWidths(forms).oracle(), smallest, start, rough)
    nearest = min(crude.seen, key=lambda point: abs(float(point.excess.max())))  # to the caps
    ends = (crude.seen[-1], nearest)
    responses = [describe(forms, respond(forms, crude.prices, end.places)) for end in ends]
    point = best_point(forms, (*crude.seen[-3:], *responses, smallest), crude.prices)
    enough = forms.gain(point.places) + effort.enough * scale
    order = make_plan(forms, forms.counts, effort.exact_work) if crude.bound > enough else None
    if order is None:
        return crude, point
    stopping = Stopping(effort.precision * scale, evaluations=25, patience=12, target=enough)
    fine = minimise(exact_oracle(forms, order), smallest, crude.prices, stopping)
    other = best_point(forms, fine.seen, fine.prices)
    best = max(point, other, key=lambda state: forms.gain(state.places))
    bound = min(crude.bound, fine.bound)
    return Dual(bound, fine.prices, fine.seen, crude.evaluations + fine.evaluations), best


def best_point(forms: Forms, seen: Iterable[Seen], y: Floats) -> State:
    """The best feasible point near those seen that come nearest to the maximum at prices y."""
    small = len(forms.free) <= SMALL
    ranked = sorted(seen, key=lambda point: y @ point.excess - point.gain)
    distinct = {point.places.tobytes(): point for point in reversed(ranked)}
    tried = list(reversed(distinct.values()))[: 12 if small else FEW]
    if len(forms.triples):
        # One head costs as much as hundreds of hidden units, so that a fill goes by small steps:
        # from afar it takes a hundred times as many, and does not end higher.
        tried = [p for n, p in enumerate(tried) if n < FEW or abs(p.excess.max()) < NEAR]
    prices = y / forms.caps
    states = [State.at(forms, point.places) for point in tried]
    for state in states:
        trim(state, prices)
        fill(state, prices)
    states.sort(key=lambda state: -forms.gain(state.places))
    reach = min(4, max(1, SMALL // len(forms.free)))
    for state in states[: FEW if small else 1]:
        exchange(state, prices, reach=reach, limit=60 if small else 20)
    return max(states, key=lambda state: forms.gain(state.places))
