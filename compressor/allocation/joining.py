"""Rows of a program that join when they are exceeded: a cap on memory has one for every step.

A network has hundreds of steps, and few of them decide. So the program is solved with the few that
are largest at full widths; steps that its answer exceeds join, until none is. Every program on the
way allows more than the whole one does, so that a bound of its objective is one of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from compressor.allocation.allocation import Solution
from compressor.allocation.bounded import Bounded
from compressor.allocation.problem import Integers, Problem
from compressor.graph.graph import Polynomial

FEW = 8
"""Rows of one cap that a program has from the start, and that join at a time at most."""

Solve = Callable[[Problem], Solution]


def solved(
    problem: Problem, bounded: Mapping[str, Bounded], caps: Mapping[str, int], solve: Solve
) -> tuple[Solution, Problem]:
    """A solution of a program whose smallest widths fit, and the program with all that joined.

    Args:
        problem: Its rows of such costs are those that they are never below.
        bounded: What caps count whose costs are no polynomials, by name of the cap.
        caps: Those of the budget.
        solve: Solves a program whose largest widths do not fit.
    """
    found, rows = _joined(problem, solve, _first(problem))
    bound, looked = found.bound, found.evaluations
    while more := _beyond(problem, bounded, caps, found.widths):
        costs, parts = dict(problem.costs), dict(problem.parts)
        limits = dict(problem.caps)
        for name, cost, whole in more:
            costs[name], parts[name], limits[name] = cost, whole, caps[whole]
        problem = replace(problem, costs=costs, caps=limits, parts=parts)
        found, rows = _joined(problem, solve, [*rows, *(name for name, _, _ in more)])
        looked += found.evaluations
    return replace(found, bound=bound, evaluations=looked), problem


def _first(problem: Problem) -> list[str]:
    """The rows to begin with: whole caps, and the largest parts of others."""
    whole = [name for name in problem.resources if name not in problem.parts]
    return whole + _largest(problem, problem.parts, problem.largest)


def _joined(problem: Problem, solve: Solve, rows: Iterable[str]) -> tuple[Solution, list[str]]:
    """A solution of all rows, found by some to which those exceeded are added; and these."""
    rows, looked = list(rows), 0
    while True:
        some = _only(problem, rows)
        found = _whole(some) if some.fits(some.largest) else solve(some)
        looked += found.evaluations
        widths = np.asarray(found.widths, dtype=np.int64)
        spent = problem.spent(widths)
        over = [n for n in problem.resources if spent[n] > problem.caps[n] and n not in rows]
        if not over:
            return replace(found, evaluations=looked), rows
        rows += _largest(problem, over, widths)


def _beyond(
    problem: Problem, bounded: Mapping[str, Bounded], caps: Mapping[str, int], widths: Integers
) -> list[tuple[str, Polynomial, str]]:
    """Rows that widths exceed where a cost is no polynomial: name, cost, and name of the cap."""
    widths = np.asarray(widths, dtype=np.int64)
    return [
        (f"{name}@{row}", cost, name)
        for name, held in bounded.items()
        for row, cost in held.exceeded(widths, problem.smallest, caps[name]).items()
    ]


def _whole(problem: Problem) -> Solution:
    """The solution of a program whose largest widths fit."""
    widths = problem.largest
    return Solution(widths, problem.value(widths), dict.fromkeys(problem.resources, 0.0))


def _largest(problem: Problem, names: Iterable[str], widths: Integers) -> list[str]:
    """The few of some rows that are furthest above their caps at these widths."""
    spent = problem.spent(widths)
    return sorted(names, key=lambda name: (-spent[name] / problem.caps[name], name))[:FEW]


def _only(problem: Problem, rows: Iterable[str]) -> Problem:
    """The program of some rows alone, in their order in the whole one."""
    some = set(rows)
    costs = {name: cost for name, cost in problem.costs.items() if name in some}
    return replace(problem, costs=costs, caps={name: problem.caps[name] for name in costs})
