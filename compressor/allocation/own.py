"""Methods and objectives of a user's own, held to their forms by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from compressor.allocation.allocation import Solution
from compressor.allocation.objective import Objective, is_objective
from compressor.allocation.problem import Floats, Integers, Problem
from compressor.graph.graph import Axis, Graph
from compressor.inputs.arguments import check_form, name_of_function
from compressor.wording import brief

METHOD = "f(problem, graph, scores) -> compressor.allocation.Solution"
"""The form of a method."""

FORMS = {
    "gains": "gains(scores, levels, writers) -> one number per level",
    "scale": "scale(full, writers) -> a number",
    "gap": "gap(value, bound, scale) -> a number",
}
"""The form of each method of an objective."""


def check_method(owner: str, method: Callable[..., object]) -> None:
    """Check that a function takes the arguments of a method.

    Raises:
        ValueError: If it does not.
    """
    check_form(f"{owner}(method={name_of_function(method)})", method, METHOD)


def check_objective(owner: str, objective: object) -> None:
    """Check that a value is an objective, as far as its methods and their arguments say it.

    Raises:
        ValueError: If it is none.
    """
    if not is_objective(objective):
        raise ValueError(
            f"{owner}(objective={brief(objective)}): must be an objective such as "
            "compressor.allocation.LogRetention()"
        )
    kind = type(objective)
    for name, form in FORMS.items():
        call = f"{owner}(objective={kind.__name__}()): its {name}"
        check_form(call, getattr(objective, name), form)


def solution_of(
    method: Callable[[Problem, Graph, Floats], object],
    problem: Problem,
    graph: Graph,
    scores: Floats,
) -> Solution:
    """What a method answers, with widths that there are.

    Raises:
        ValueError: If it is no solution, or not one allowed width per axis.
    """
    found, name = method(problem, graph, scores), name_of_function(method)
    if not isinstance(found, Solution):
        raise ValueError(f"the method {name} must be {METHOD}, and it gave {brief(found)}")
    widths, count = np.asarray(found.widths), len(problem.levels)
    if widths.shape != (count,):
        raise ValueError(
            f"the method {name} must be {METHOD} with one width per axis, shape ({count},), and "
            f"its widths have shape {widths.shape}"
        )
    for axis, allowed, width in zip(graph.axes, problem.levels, widths, strict=True):
        if width not in allowed:
            raise ValueError(
                f"the method {name} gave {axis.name!r} the width {width}, which is none of "
                f"problem.levels: it may have {allowed[0]} to {allowed[-1]}"
            )
    return found


def gains_of(objective: Objective, axis: Axis, scores: Floats, levels: Integers) -> Floats:
    """Objective of an axis at each of its levels.

    Raises:
        ValueError: If there is not one finite number for each, or they fall as the axis grows.
    """
    given: object = objective.gains(scores, levels, max(axis.writers, 1))
    try:
        gains = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        gains = np.array(np.nan)  # no numbers
    if gains.shape == levels.shape and np.isfinite(gains).all() and (np.diff(gains) >= 0).all():
        return gains
    what = "ones that fall, or are not finite" if gains.shape == levels.shape else brief(given)
    raise ValueError(
        f"the objective {type(objective).__name__}: {FORMS['gains']}, shape ({len(levels)},), "
        f"finite and never falling, and for {axis.name!r} it gave {what}"
    )
