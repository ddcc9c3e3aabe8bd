"""One of several options for each of many tensors, under one cap: a multiple-choice knapsack.

    minimise    sum over tensors t of  loss_t[k_t]
    subject to  sum over tensors t of  cost_t[k_t] <= cap

Options that another one beats in both, or two others between them beat, are of no use to the
relaxed program; the rest of a tensor's options lie on a convex curve. Walking down all curves at
once, by most loss saved for the cost (Sinha and Zoltners 1979), solves the relaxation but for the
last step; what is left of the cap is used up option by option.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from compressor.allocation.problem import Floats, Integers
from compressor.errors import BudgetError


def choose_options(
    costs: Sequence[Integers], losses: Sequence[Floats], cap: int
) -> tuple[int, ...]:
    """Choose one option for every tensor; their numbers.

    For each tensor `costs` has what its options cost, whole numbers of at least 0, and `losses`
    what they lose, finite; together they may cost `cap`.

    Raises:
        BudgetError: If the cheapest options cost more than the cap.
    """
    curves = [_hull(c, x) for c, x in zip(costs, losses, strict=True)]
    place = [0] * len(curves)
    spent = sum(int(c[curve[0]]) for c, curve in zip(costs, curves, strict=True))
    if spent > cap:
        raise BudgetError(
            f"the cheapest options of {len(curves)} tensors take {spent:,} and the cap leaves "
            f"{cap:,}: raise the cap, or offer cheaper options"
        )
    for _, tensor, step, cost in _steps(costs, losses, curves):
        if place[tensor] == step and cost <= cap - spent:
            place[tensor], spent = step + 1, spent + cost
    return _filled(costs, losses, [c[at] for c, at in zip(curves, place, strict=True)], cap - spent)


def _hull(cost: Integers, loss: Floats) -> list[int]:
    """The options on the lower convex hull, from the cheapest to the least loss."""
    order = sorted(range(len(cost)), key=lambda k: (int(cost[k]), float(loss[k]), k))
    hull: list[int] = []
    for k in order:
        if hull and loss[k] >= loss[hull[-1]]:
            continue
        while len(hull) > 1 and _slope(cost, loss, *hull[-2:]) <= _slope(cost, loss, hull[-1], k):
            hull.pop()
        hull.append(k)
    return hull


def _slope(cost: Integers, loss: Floats, a: int, b: int) -> float:
    """Loss saved for each unit of cost between two options."""
    return float(loss[a] - loss[b]) / int(cost[b] - cost[a])


def _steps(
    costs: Sequence[Integers], losses: Sequence[Floats], curves: Sequence[Sequence[int]]
) -> list[tuple[float, int, int, int]]:
    """Every step down a curve as (its slope, tensor, number, cost), the best value first."""
    return sorted(
        (-_slope(cost, loss, a, b), tensor, step, int(cost[b] - cost[a]))
        for tensor, (cost, loss, curve) in enumerate(zip(costs, losses, curves, strict=True))
        for step, (a, b) in enumerate(pairwise(curve))
    )


def _filled(
    costs: Sequence[Integers], losses: Sequence[Floats], chosen: list[int], room: int
) -> tuple[int, ...]:
    """Take better options, any of them, while there is room: the most loss saved first."""
    while True:
        best: tuple[float, int, int] | None = None
        for tensor, (cost, loss) in enumerate(zip(costs, losses, strict=True)):
            now = chosen[tensor]
            option = int(np.where(cost <= room + int(cost[now]), loss, np.inf).argmin())
            gain = float(loss[now] - loss[option])
            if gain > 0 and (best is None or gain > best[0]):
                best = gain, tensor, option
        if best is None:
            return tuple(chosen)
        _, tensor, option = best
        room -= int(costs[tensor][option] - costs[tensor][chosen[tensor]])
        chosen[tensor] = option
