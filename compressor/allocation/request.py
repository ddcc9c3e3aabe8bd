"""From a graph, scores and a budget to the integer program, with errors for what cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import ceil, prod
from types import MappingProxyType

import numpy as np
from torch import Tensor

from compressor.allocation.bounded import Bounded
from compressor.allocation.objective import Objective
from compressor.allocation.own import gains_of
from compressor.allocation.problem import Floats, Integers, Problem, allowed_widths
from compressor.budget import Budget
from compressor.counting.cost import cost_of
from compressor.errors import BudgetError
from compressor.graph.graph import OUTPUT, Dim, Graph, Polynomial
from compressor.graph.keep import named
from compressor.graph.structure import full
from compressor.inputs.scores import FORM, one_each
from compressor.inputs.settings import check_whole
from compressor.wording import brief, listed

FORMS = {"params": "params", "nonzero": "params", "macs": "macs", "bytes": "bytes"}
"""The cost form behind every cap.

A cap on non-zero parameters is met through the number of parameters: which of them are zero is not
known to a graph, and there can only be fewer.
"""

Form = Polynomial | Bounded
"""What a cap counts, by the widths."""

WEIGHTLESS = "operations without a weight, which nothing here removes"
"""Products of two activations, such as attention's."""


def make_problem(
    graph: Graph,
    scores: Floats,
    budget: Budget,
    objective: Objective,
    *,
    floor: int,
    round_to: int,
    keep: Iterable[str],
    costs: Mapping[str, Form] = MappingProxyType({}),
) -> Problem:
    """The integer program for one request; arguments as in `allocate`, the scores checked.

    A cap on working memory becomes a row for every step of the network that can exceed it.

    Raises:
        ValueError: If `floor` or `round_to` is not a positive integer, or a name is unknown.
        BudgetError: If even the smallest widths exceed a cap.
    """
    check_whole("allocate", 1, floor=floor, round_to=round_to)
    whole = _whole(graph, keep)
    levels = tuple(
        np.array([axis.size], dtype=np.int64)
        if number in whole
        else allowed_widths(axis.size, int(floor), int(round_to))
        for number, axis in enumerate(graph.axes)
    )
    gains = tuple(
        gains_of(objective, axis, scores[axis.units], allowed)
        for axis, allowed in zip(graph.axes, levels, strict=True)
    )
    free = [n for n, allowed in enumerate(levels) if len(allowed) > 1]
    writers = np.array([max(graph.axes[n].writers, 1) for n in free], dtype=np.int64)
    scale = objective.scale(np.array([gains[n][-1] for n in free]), writers)
    forms, caps, parts = _rows(graph, budget, costs, levels)
    problem = Problem(levels, gains, forms, caps, scale if scale > 0 else 1.0, parts)
    least = bounded(budget, costs)
    over = {name: m for name, m in least.items() if m(problem.smallest) > budget.caps[name]}
    if over or not problem.fits(problem.smallest):
        raise BudgetError(_impossible(graph, problem, over, int(floor), int(round_to)))
    return problem


def amount(form: Form, widths: Integers) -> int:
    """What a form says at some widths, in its resource's own units, rounded up."""
    return ceil(Fraction(form(widths), form.unit))


def resolved(graph: Graph, budget: Budget, costs: Mapping[str, Form]) -> Budget:
    """The budget with its shares as those of all of a graph, by the forms that caps count by.

    Raises:
        BudgetError: If a cap is on a file, and no form says what that takes.
    """
    _check_known(budget, costs)
    known = [name for name in budget.unresolved if name in costs]
    budget = budget.of_wholes({name: amount(costs[name], graph.sizes) for name in known})
    return budget.resolved(cost_of(full(graph))) if budget.unresolved else budget


def _check_known(budget: Budget, costs: Mapping[str, Form]) -> None:
    """Refuse caps on files, of which a graph says nothing, but those that have a form."""
    ways = "use compressor.fit or Session, or pass"
    if budget.ram is not None and "ram" not in costs:
        raise BudgetError(
            f"{budget.told('ram')} was asked of a graph alone, which does not say what the .tflite "
            f"file of its network needs: {ways} costs={{'ram': ...}}"
        )
    if budget.file is not None and "bytes" not in costs:
        raise BudgetError(
            f"{budget.told('bytes')} was asked of a graph alone, which does not say how long that "
            f"file of its network is: {ways} costs={{'bytes': ...}}; without file= the cap is on "
            "the stored parameters"
        )


def bounded(budget: Budget, costs: Mapping[str, Form]) -> dict[str, Bounded]:
    """What caps are on that is no polynomial, by name of the cap."""
    found = {name: costs.get(name) for name in budget.caps}
    return {name: form for name, form in found.items() if isinstance(form, Bounded)}


def _rows(
    graph: Graph, budget: Budget, costs: Mapping[str, Form], levels: Sequence[Integers]
) -> tuple[dict[str, Polynomial], dict[str, int], dict[str, str]]:
    """Costs and caps by resource, and the cap of the budget that some resources are parts of."""
    forms, caps, parts = dict[str, Polynomial](), dict[str, int](), dict[str, str]()
    largest = np.array([each[-1] for each in levels], dtype=np.int64)
    for name, cap in budget.caps.items():
        form: Form = costs.get(name) or getattr(graph, FORMS[name])
        if isinstance(form, Bounded):
            rows = {f"{name}@{row}": size for row, size in form.rows(largest, cap).items()}
            parts |= dict.fromkeys(rows, name)
        else:
            rows = {name: form}
        forms |= rows
        caps |= {row: cap * f.unit for row, f in rows.items()}
    return forms, caps, parts


def check_scores(graph: Graph, scores: object, importance: str | None = None) -> Floats:
    """The scores as an array of floats.

    Args:
        graph: The network as coupled axes.
        scores: What was given, or what an importance gave.
        importance: Its name; None for scores that the caller of `allocate` gave.

    Raises:
        ValueError: If there is not one finite, non-negative score per unit, or their sum is not
            finite.
    """
    if callable(scores) and importance is None:
        raise ValueError(
            "allocate(scores) is a function, and must be its result: one score per unit, such as "
            "compressor.importance.l1(graph, tensors)"
        )
    array = _array(scores)
    if array is None or array.shape != (graph.units,):
        found = brief(scores) if array is None else str(array.shape)
        raise ValueError(_misshapen(graph, importance, found))
    said = "allocate(scores)" if importance is None else f"the importance {importance}"
    wrong = np.flatnonzero(~np.isfinite(array) | (array < 0))
    if len(wrong):
        axis = graph.axes[int(graph.axis_of[wrong[0]])]
        raise ValueError(
            f"{said}: {len(wrong)} of {len(array)} scores are negative or not finite, "
            f"the first is {array[wrong[0]]} at unit {wrong[0] - axis.first} of {axis.name!r}. "
            "Scores must be at least 0; check the loss and the gradients they came from."
        )
    with np.errstate(over="ignore"):
        total = array.sum()
    if not np.isfinite(total):
        raise ValueError(f"{said}: their sum is not finite; divide them by the largest.")
    return array


def _misshapen(graph: Graph, importance: str | None, found: str) -> str:
    """The sentence on scores that are not one per unit: a shape, or what they are instead."""
    if importance is None:
        return (
            f"allocate(scores): scores are {one_each(graph.units, found)}. `compressor.importance` "
            "makes them."
        )
    gives = f"shape {found}" if found.startswith("(") else found
    return f"the importance {importance} must be {FORM}, shape ({graph.units},), and gives {gives}"


def _array(scores: object) -> Floats | None:
    """Scores as an array; None where they are no numbers."""
    given = scores.detach().cpu() if isinstance(scores, Tensor) else scores
    try:
        return None if given is None else np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):  # a text, a mapping, rows of different lengths
        return None


def _whole(graph: Graph, keep: Iterable[str]) -> set[int]:
    """Numbers of the axes that stay whole: frozen ones, and those that `keep` names.

    A layer is named by any weight it holds, so that a normalisation layer stands for the channels
    it works on; a layer that writes no channel that can go is right, and changes nothing.
    """
    names: Iterable[str] = (keep,) if isinstance(keep, str) else keep
    holders: list[set[str]] = [set() for _ in graph.axes]
    known = set(graph.frozen)
    for weight in graph.weights.values():
        known.update(map(_module, (weight.name, *weight.aliases)))
        if weight.dims:
            for owner in weight.dims[weight.out_dim or 0].owners:
                for axis in np.unique(graph.axis_of[owner[owner >= 0]]).tolist():
                    holders[axis].add(_module(weight.name))
    axes = [
        replace(axis, layers=(*axis.layers, *sorted(held)))
        for axis, held in zip(graph.axes, holders, strict=True)
    ]
    frozen = {number for number, axis in enumerate(graph.axes) if axis.frozen}
    return frozen | named(axes, names, known)


def _module(weight: str) -> str:
    return weight.rpartition(".")[0]


def _impossible(
    graph: Graph, problem: Problem, over: Mapping[str, Bounded], floor: int, round_to: int
) -> str:
    """Explain why even the smallest structure is too large, and what to do about it.

    `over` are the costs that are no polynomials and too large.
    """
    spent, reasons = problem.spent(problem.smallest), list[str]()
    caps = {problem.parts.get(name, name): cap for name, cap in problem.caps.items()}
    for name, cost in over.items():
        reasons.append(
            f"{name} <= {caps[name]:,} cannot be reached: the smallest structure has "
            f"{cost.told(problem.smallest)}"
        )
    for name, cap in problem.caps.items():
        if spent[name] > cap and name not in problem.parts:
            unit, where = problem.costs[name].unit, f": {problem.costs[name].told}"
            if not problem.costs[name].told:
                layer, part = _dearest(graph, name, problem.smallest)
                where = f", {part:,} of them in {layer}" if unit == 1 else ""
            reasons.append(
                f"{name} <= {cap // unit:,} cannot be reached: the smallest structure has "
                f"{-(-spent[name] // unit):,}{where}"
            )
    frozen = [
        a.name
        for a, levels in zip(graph.axes, problem.levels, strict=True)
        if len(levels) == 1 and levels[0] > floor
    ]
    settings = [f"floor={floor}", *([f"round_to={round_to}"] if round_to > 1 else [])]
    held = [(layer, why) for layer, why in graph.frozen.items() if why != OUTPUT]
    none = [] if held else ["no frozen axes" if graph.axes else "no layer but the output"]
    settings += [f"frozen axes: {listed(frozen, len(frozen), 5)}"] if frozen else none
    settings += [f"{layer} stays whole: {why}" for layer, why in held[:3]]
    ways = {"lower floor": floor > 1, "lower round_to": round_to > 1}
    ways |= {"keep fewer layers whole": bool(frozen)}
    ways |= {"have forward return fewer results": any(OUTPUT in why for _, why in held)}
    *advice, last = ["Raise the budget", *(way for way, helps in ways.items() if helps)]
    what = f"{', '.join(advice)} or {last}" if advice else last
    return f"{'; '.join(reasons)} ({', '.join(settings)}). {what}."


def _dearest(graph: Graph, resource: str, widths: Integers) -> tuple[str, int]:
    """Name the layer that costs most at these widths as a sentence calls it, and its cost."""
    spent = Counter[str]()
    if FORMS[resource] == "macs":
        for site in graph.sites:
            spent[site.module] += site.positions * _alive(graph, graph.multiplied(site), widths)
        for product in graph.products:
            spent[product.module] += product.positions * _alive(graph, product.dims, widths)
        spent[WEIGHTLESS] = graph.const_macs
    else:
        for weight in graph.weights.values():
            size = weight.itemsize if resource == "bytes" else 1
            cost = size * _alive(graph, weight.dims, widths) if weight.trainable else 0
            spent[_module(weight.name)] += cost
    layer = max(spent, key=lambda name: spent[name])
    named = {"": "the model itself", WEIGHTLESS: WEIGHTLESS}.get(layer, repr(layer))
    return named, spent[layer]


def _alive(graph: Graph, dims: tuple[Dim, ...], widths: Integers) -> int:
    """Count the entries that are left of some dimensions at these widths."""
    left = (
        sum(count * prod(int(widths[axis]) for axis in axes) for axes, count in terms.items())
        for terms in map(graph.terms, dims)
    )
    return prod(left)
