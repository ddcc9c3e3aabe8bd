"""Rows of a program that join when they are exceeded: a cap on memory has one for every step.

A network has hundreds of steps, and few of them decide. So the program is solved with the few that
are largest at full widths; steps that its answer exceeds join, until none is. Every program on the
way allows more than the whole one does, so that a bound of its objective is one of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from compressor.allocation.allocation import Solution
from compressor.allocation.problem import Integers, Problem

FEW = 8
"""Rows of one cap that a program has from the start, and that join at a time at most."""


def solved(problem: Problem, solve: Callable[[Problem], Solution]) -> Solution:
    """A solution of a program whose smallest widths fit and whose largest do not."""
    rows = [name for name in problem.resources if name not in problem.parts]
    rows += _largest(problem, problem.parts, problem.largest)
    looked = 0
    while True:
        some = _only(problem, rows)
        found = _whole(some) if some.fits(some.largest) else solve(some)
        looked += found.evaluations
        spent = problem.spent(np.asarray(found.widths, dtype=np.int64))
        over = [name for name in problem.resources if spent[name] > problem.caps[name]]
        more = _largest(problem, set(over) - set(rows), found.widths)
        if not more:
            return replace(found, evaluations=looked)
        rows += more


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
