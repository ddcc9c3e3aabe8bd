"""One global threshold on single filters, as in the FAU submission to DCASE 2022, section 2.3.

A binary search over all filters finds the lowest threshold whose survivors meet every cap. In every
step of it a reachability analysis says which inputs a filter still has, its importance is taken
over those alone, and this goes on until nothing changes any more. At least one filter of every
layer stays: "we ensure that at least one output channel is active, such that the network is not
disconnected". Here that is the best one that something reaches, and what layers still lack comes
back (`compressor.phases.filters.least`).

Where even that is over a cap, the search goes on from the smallest structure of any, and a cap is
refused if that does not meet it either, at whatever weights. Whether survivors fit need not be
monotone in the threshold; the search returns the last that fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from compressor.budget import Budget, Cost
from compressor.counting.cost import cost_of
from compressor.errors import BudgetError
from compressor.graph.structure import Structure
from compressor.phases.filters.least import Least
from compressor.phases.filters.ranking import Floats, Ranking, fixed
from compressor.phases.filters.uncoupled import Bools, Split

Price = Callable[[Structure], Cost]
"""What a structure costs."""


def threshold(
    least: Least, ranking: Ranking, budget: Budget, price: Price = cost_of
) -> tuple[Structure, float]:
    """The lowest threshold whose survivors meet every cap.

    A cap on non-zero parameters is met through all parameters.

    Returns:
        The survivors, closed under reachability, with no layer empty; and the threshold, which is
        minus infinity where everything stays.

    Raises:
        BudgetError: If even one filter a layer is too much; names a cost that can be had.
    """
    found = _search(least, ranking, budget, price, None)
    if found is None:
        # What the best filter of every layer costs depends on which channels they write. There may
        # be less, which no weight has a say in: `smallest`.
        core = within(least, budget, price)
        found = _search(least, ranking, budget, price, core) or (core, np.inf)
    return found


def survivors(
    least: Least, ranking: Ranking, limit: float, core: Structure | None = None
) -> Structure:
    """The filters whose importance over what survives is above `limit`: a fixed point.

    Filters only ever fall out, so it ends after at most as many rounds as there are filters. Where
    that leaves a layer without filters or inputs, the best that it needs come back. `core` stays in
    any case, in the place of the best filter of every layer.
    """
    reach = least.reach
    keep = np.ones(reach.split.graph.units, dtype=bool)
    while True:
        chosen = keep.copy()
        reach.forwards(chosen, _chooser(least, ranking, keep, limit, core))
        found = reach.closed(chosen)
        if (found.keep == keep).all():
            break
        keep = found.keep.copy()
    return found if least.met(found) else least.filled(found, _scores(reach.split, ranking))


def smallest(least: Least) -> Iterator[Structure]:
    """Structures with as few filters as layers can do with, by several orders of the channels.

    No weight has a say in them, so that a cap that one of them meets can be met whatever training
    does. Filters that write one channel of a trunk stand together in such an order, since few
    channels cost little where they are read.
    """
    split = least.reach.split
    first = np.array([axis.first for axis in split.coupled.axes], dtype=np.int64)
    place = np.arange(split.coupled.units) - np.repeat(first, split.coupled.sizes)
    random = np.random.default_rng(0)
    orders = [-place, place, *(random.permutation(split.coupled.units) for _ in range(6))]
    for order in (order.astype(np.float64) for order in orders):
        scores = _scores(split, _of_channels(order))
        yield least.reduced(survivors(least, fixed(split, scores), np.inf), scores)


def within(least: Least, budget: Budget, price: Price) -> Structure:
    """The first of the smallest structures that meets a budget.

    Raises:
        BudgetError: If none does; names the cost of the one that is the least over it.
    """
    costs: list[Cost] = []
    for structure in smallest(least):
        costs.append(price(structure))
        if budget.allows(costs[-1]):
            return structure

    def over(found: Cost) -> float:
        return max(getattr(found, name) / cap for name, cap in budget.caps.items())

    raise BudgetError(_impossible(min(costs, key=over), budget, least.floor))


def _search(
    least: Least, ranking: Ranking, budget: Budget, price: Price, core: Structure | None
) -> tuple[Structure, float] | None:
    """The lowest threshold that fits; None if the highest does not."""

    def left(place: int) -> Structure:
        return survivors(least, ranking, float(limits[place]), core)

    split = least.reach.split
    values = np.unique(_scores(split, ranking)[split.free])
    limits = np.concatenate(([-np.inf], values, [np.inf]))
    low, high = 0, len(limits) - 1
    best = left(high)
    if not budget.allows(price(best)):
        return None
    if budget.allows(price(least.whole)):
        return least.whole, -np.inf
    while high - low > 1:
        middle = (low + high) // 2
        found = left(middle)
        if budget.allows(price(found)):
            high, best = middle, found
        else:
            low = middle
    return best, float(limits[high])


def _chooser(
    least: Least, ranking: Ranking, before: Bools, limit: float, core: Structure | None
) -> Callable[[int, Bools, Bools], Bools]:
    """Chooses the filters of one bank after the other, from the input to the output."""
    reach, split = least.reach, least.reach.split

    def choose(bank: int, entering: Bools, could: Bools) -> Bools:
        numbers = split.numbers[bank]
        if len(split.banks[bank].nodes) > 1:
            # What enters at a later use is not known yet; what entered in the round before is.
            entering = np.append(before, False)[numbers.inputs]
        scores = ranking(bank, entering)
        free = could & (numbers.filters >= split.coupled.units)
        wanted = could & ~free | free & (scores > limit)
        if core is not None:
            wanted |= could & reach.on(core.keep, bank)
        missing = least.floor - int(wanted.sum())
        if missing > 0:
            order = np.argsort(-np.where(free & ~wanted, scores, -np.inf), kind="stable")
            more = order[: min(missing, int((free & ~wanted).sum()))]
            wanted[more] = True
        return wanted

    return choose


def _of_channels(scores: Floats) -> Ranking:
    """Filters compared by the channels that they write."""
    return lambda _bank, _entering: scores


def _scores(split: Split, ranking: Ranking) -> Floats:
    """The importance of all filters that may be removed, every input taken for live."""
    everything = np.ones(split.coupled.units, dtype=bool)
    found = np.zeros(split.graph.units)
    for bank, numbers in enumerate(split.numbers):
        free = numbers.filters >= split.coupled.units
        found[numbers.filters[free]] = ranking(bank, everything)[free]
    return found


def _impossible(least: Cost, budget: Budget, floor: int) -> str:
    over = ", ".join(
        f"{name} <= {budget.caps[name]:,} (the smallest has {getattr(least, name):,})"
        for name in budget.excess(least)
    )
    filters = "one filter" if floor == 1 else f"{floor} filters"
    advice = "Raise the budget" if floor == 1 else "Raise the budget or lower floor"
    return f"{over} cannot be reached with {filters} a layer. {advice}."
