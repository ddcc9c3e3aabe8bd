"""One of several options for each of many tensors, under one cap: a multiple-choice knapsack.

    minimise    sum over tensors t of  loss_t[k_t]
    subject to  sum over tensors t of  cost_t[k_t] <= cap

Options that another one beats in both, or two others between them beat, are of no use to the
relaxed program; the rest of a tensor's options lie on a convex curve. Walking down all curves at
once, by most loss saved for the cost (Sinha and Zoltners 1979), solves the relaxation and gives its
value as a proven bound; what is left of the cap is used up option by option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressor.allocation.problem import Floats, Integers
from compressor.errors import BudgetError


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen.

    Attributes:
        options: Number of the option of each tensor.
        cost: Their cost.
        loss: Their loss.
        bound: No choice within the cap has a smaller loss (proven).
    """

    options: tuple[int, ...]
    cost: int
    loss: float
    bound: float


def choose_options(costs: Sequence[Integers], losses: Sequence[Floats], cap: int) -> Choice:
    """Choose one option for every tensor.

    Args:
        costs: For each tensor what its options cost, whole numbers of at least 0.
        losses: For each tensor what its options lose, finite.
        cap: Most that all may cost.

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
    bound = float(sum(x[curve[0]] for x, curve in zip(losses, curves, strict=True)))
    blocked = False
    for tensor, step, cost, gain in _steps(costs, losses, curves):
        room = cap - spent
        if place[tensor] == step and cost <= room:
            place[tensor], spent = step + 1, spent + cost
        if not blocked:
            bound -= gain * min(1.0, room / cost)
            blocked = cost > room
    chosen = [curve[at] for curve, at in zip(curves, place, strict=True)]
    chosen, spent = _filled(costs, losses, chosen, cap)
    loss = float(sum(x[k] for x, k in zip(losses, chosen, strict=True)))
    return Choice(tuple(chosen), spent, loss, min(bound, loss))


def _hull(cost: Integers, loss: Floats) -> list[int]:
    """The options on the lower convex hull, from the cheapest to the least loss."""
    order = sorted(range(len(cost)), key=lambda k: (int(cost[k]), float(loss[k]), k))
    hull: list[int] = []
    for k in order:
        if hull and loss[k] >= loss[hull[-1]]:
            continue
        while len(hull) > 1 and _slope(cost, loss, hull[-2], hull[-1]) <= _slope(
            cost, loss, hull[-1], k
        ):
            hull.pop()
        hull.append(k)
    return hull


def _slope(cost: Integers, loss: Floats, a: int, b: int) -> float:
    """Loss saved for each unit of cost between two options."""
    return float(loss[a] - loss[b]) / int(cost[b] - cost[a])


def _steps(
    costs: Sequence[Integers], losses: Sequence[Floats], curves: Sequence[Sequence[int]]
) -> list[tuple[int, int, int, float]]:
    """Every step down a curve as (tensor, number, cost, loss saved), the best value first."""
    found: list[tuple[float, int, int, int, float]] = []
    for tensor, curve in enumerate(curves):
        for step in range(len(curve) - 1):
            a, b = curve[step], curve[step + 1]
            cost = int(costs[tensor][b] - costs[tensor][a])
            gain = float(losses[tensor][a] - losses[tensor][b])
            found.append((-gain / cost, tensor, step, cost, gain))
    return [step for _, *step in sorted(found)]  # type: ignore[misc]


def _filled(
    costs: Sequence[Integers], losses: Sequence[Floats], chosen: list[int], cap: int
) -> tuple[list[int], int]:
    """Take better options, any of them, while the cap allows: the most loss saved first."""
    spent = sum(int(c[k]) for c, k in zip(costs, chosen, strict=True))
    while True:
        best: tuple[float, int, int] | None = None
        for tensor, (cost, loss) in enumerate(zip(costs, losses, strict=True)):
            now = chosen[tensor]
            room = cap - spent + int(cost[now])
            option = int(np.where(cost <= room, loss, np.inf).argmin())
            gain = float(loss[now] - loss[option])
            if gain > 0 and (best is None or gain > best[0]):
                best = gain, tensor, option
        if best is None:
            return chosen, spent
        _, tensor, option = best
        spent += int(costs[tensor][option] - costs[tensor][chosen[tensor]])
        chosen[tensor] = option
