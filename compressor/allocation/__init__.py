"""Allocation of channels: `allocate` turns scores and a budget into a structure.

`problem` is the integer program behind it and `objective` what it maximises. Three methods solve
it: `dual` prices the caps, proves a bound and then searches locally; `uniform` scales all widths
alike; `exact` is a mixed-integer program for small networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import cast

import numpy as np

from compressor.allocation.allocation import Allocation, Solution
from compressor.allocation.bounded import Bounded
from compressor.allocation.filling import blocked
from compressor.allocation.joining import solved
from compressor.allocation.lagrangian import dual
from compressor.allocation.milp import exact
from compressor.allocation.objective import (
    Additive,
    LogRetention,
    LogWidth,
    Mix,
    Objective,
    PowerMean,
)
from compressor.allocation.own import check_method, check_objective, solution_of
from compressor.allocation.problem import Floats, Problem
from compressor.allocation.request import Form, bounded, check_scores, make_problem, resolved
from compressor.allocation.width_factor import uniform
from compressor.budget import Budget, required
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure, top

__all__ = [
    "Additive",
    "Allocation",
    "LogRetention",
    "LogWidth",
    "Method",
    "Mix",
    "Objective",
    "PowerMean",
    "Problem",
    "Solution",
    "allocate",
    "dual",
    "exact",
    "uniform",
]

Method = Callable[[Problem, Graph, Floats], Solution]
"""A way to choose widths. It may trust that the smallest widths fit and the largest do not."""

METHODS: dict[str, Method] = {
    "dual": lambda problem, _graph, _scores: dual(problem),
    "uniform": lambda problem, _graph, _scores: uniform(problem),
    "exact": lambda problem, _graph, _scores: exact(problem),
}
"""The methods that have a name."""

DEFAULT = PowerMean(1)
"""The single objective that did best on real audio; see `benchmarks/accuracy/objectives.md`."""

THRESHOLD = "one threshold for all is for single filters, FilterPruning(allocator='threshold')"
"""What to take in the place of a method that there was."""

NEGLIGIBLE = 1e-6
"""A price of this part of the objective's scale is none."""


def allocate(
    graph: Graph,
    scores: Floats,
    budget: Budget,
    *,
    method: str | Method = "dual",
    objective: Objective = DEFAULT,
    floor: int = 1,
    round_to: int = 1,
    keep: Iterable[str] = (),
    costs: Mapping[str, Form] = MappingProxyType({}),
) -> Allocation:
    """Choose which units of a network stay, within every cap of a budget.

    A network that fits already is returned whole. The result is recounted in exact integers and
    never exceeds a cap, whatever the method.

    Args:
        graph: The network as coupled axes.
        scores: Importance of every unit, shape (units,), finite and non-negative; see
            `compressor.importance`.
        budget: The caps. A cap on non-zero parameters is met through all parameters: which of them
            are zero is not known here, and there can only be fewer. A share (``macs="50%"``) is one
            of all of `graph`, of bytes one of its parameters. Of files a graph says nothing: caps
            on RAM and on bytes of a `.tflite` or `.onnx` need a form in `costs`.
        method: ``"dual"`` (near-optimal with a proven gap), ``"uniform"`` (one width factor),
            ``"exact"`` (mixed-integer program, at most 15 axes that can shrink), or a function of
            the form ``(problem, graph, scores) -> Solution``.
        objective: What is maximised, and what `value` and `bound` are measured in.
        floor: Fewest units that an axis keeps; narrower axes keep all.
        round_to: Widths are multiples of this, or full.
        keep: Names of layers or modules whose channels all stay.
        costs: What a cap counts where it is not what the graph says, by name of the cap: a
            polynomial (see `Graph.priced`), or what lies between some, such as the peak of the
            memory at every step (`compressor.allocation.memory.Memory`).

    Returns:
        The structure and what is known about it.

    Raises:
        BudgetError: If no structure meets the budget; names the smallest reachable cost and the
            layer that holds most of it. If a cap is on a file that `costs` does not know.
        ValueError: If graph, scores, objective, floor, round_to, keep or method make no sense.
    """
    if not isinstance(cast("object", graph), Graph):
        raise ValueError(
            f"allocate needs a graph first and got a {type(graph).__name__}: pass "
            "compressor.trace(model)"
        )
    budget = resolved(graph, required(budget, "allocate"), costs)
    chosen = METHODS.get(method) if isinstance(method, str) else method
    if chosen is None:
        raise ValueError(f"allocate(method={method!r}): {no_method(method)}.")
    check_objective("allocate", objective)
    check_method("allocate", chosen)
    array = check_scores(graph, scores)
    problem = make_problem(
        graph, array, budget, objective, floor=floor, round_to=round_to, keep=keep, costs=costs
    )
    name = method if isinstance(method, str) else getattr(method, "__name__", "custom")
    held = bounded(budget, costs)
    solution, problem = solved(
        problem, held, budget.caps, lambda part: solution_of(chosen, part, graph, array)
    )
    found = _finish(problem, graph, array, solution, name, objective)
    return _folded(found, problem, budget, held) if held else found


def no_method(method: object) -> str:
    """Describe a name that no method has."""
    known = ", ".join(map(repr, METHODS))
    return f"no such method; there are {known}" + (f"; {THRESHOLD}" * (method == "threshold"))


def _finish(
    problem: Problem,
    graph: Graph,
    scores: Floats,
    solution: Solution,
    method: str,
    objective: Objective,
) -> Allocation:
    """Choose the units, recount, and say how good it is."""
    widths = np.asarray(solution.widths, dtype=np.int64)
    chosen = solution.keep
    structure = top(graph, scores, widths) if chosen is None else Structure(graph, chosen)
    if not problem.fits(structure.widths) or (structure.widths != widths).any():
        raise RuntimeError(
            f"method {method!r} returned a structure of {problem.spent(structure.widths)}, which "
            f"is not what it announced or not within {dict(problem.caps)}. This is a bug in the "
            "method; the structure was not used."
        )
    value, bound = problem.value(widths), solution.bound
    if bound is not None:
        bound = max(bound, value)  # they meet at the optimum, each rounded by its own order of sums
    prices = {name: 0.01 * problem.caps[name] * p for name, p in solution.prices.items()}
    held = blocked(problem, widths)
    priced = {name for name, price in prices.items() if price > NEGLIGIBLE * problem.scale}
    return Allocation(
        structure=structure,
        widths=widths,
        value=value,
        bound=bound,
        gap=None if bound is None else objective.gap(value, bound, problem.scale),
        binding=tuple(name for name in problem.resources if name in held or name in priced),
        unused=problem.unused(widths),
        prices=prices,
        gains=_gains(prices, value, objective, problem.scale),
        evaluations=solution.evaluations,
        method=method,
        objective=objective,
    )


def _gains(
    prices: Mapping[str, float], value: float, objective: Objective, scale: float
) -> dict[str, float]:
    """What 1 % more of each cap would bring, in the unit of the gap."""
    return {name: objective.gap(value, value + price, scale) for name, price in prices.items()}


def _folded(
    found: Allocation, problem: Problem, budget: Budget, held: Mapping[str, Bounded]
) -> Allocation:
    """The same with one entry for every cap of the budget, where some have several rows.

    A cap binds if a row does, and its price is the sum of theirs, as it is all of theirs that one
    more byte of it would raise.
    """
    prices: dict[str, float] = {}
    for row, price in found.prices.items():
        name = problem.parts.get(row, row)
        prices[name] = prices.get(name, 0.0) + price
    binding = {problem.parts.get(row, row) for row in found.binding}
    gains = _gains(prices, found.value, found.objective, problem.scale)
    unused = dict(found.unused)
    for name, cost in held.items():
        unused[name] = (budget.caps[name] - cost(found.widths)) / budget.caps[name]
    return replace(
        found,
        prices=prices,
        gains=gains,
        binding=tuple(name for name in budget.caps if name in binding),
        unused={name: unused[name] for name in budget.caps},
    )
