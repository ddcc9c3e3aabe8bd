"""One global threshold on single filters, as in the FAU submission to DCASE 2022, section 2.3.

All filters stand in one list, with all inputs taken for reachable, and a binary search finds the
lowest threshold whose survivors meet every cap. In every step of the search a reachability
analysis says which inputs a filter still has, its importance is taken over those alone, and this
goes on until nothing changes any more. At least one filter of every layer stays: "we ensure that
at least one output channel is active, such that the network is not disconnected".

The report does not say which filter it is that stays; here it is the best one that something
reaches, so that what follows is reached as well. In networks where layers read one another's
channels that is not enough for the last part of the sentence; what is lacking comes back
(`compressor.phases.filters.least`). Where even the best filter of every layer is over a cap, the
search goes on from the smallest structure of any, whose channels are those that cost the least to
read, and a cap is refused if that does not meet it either, at whatever weights. Whether survivors
fit need not be monotone in the threshold; the search returns the last that fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np

from compressor.budget import Budget, Cost
from compressor.errors import BudgetError
from compressor.graph.cost import cost_of
from compressor.graph.graph import Quadratic, Units
from compressor.graph.structure import Structure
from compressor.phases.filters.least import Least
from compressor.phases.filters.ranking import Floats, Ranking, fixed
from compressor.phases.filters.reach import Reach
from compressor.phases.filters.uncoupled import Bools


@dataclass(frozen=True)
class Chosen:
    """What a threshold left.

    Attributes:
        structure: The filters, inputs and trunk units that stay.
        limit: The threshold; minus infinity where everything stays.
        evaluations: How many thresholds were tried.
    """

    structure: Structure
    limit: float
    evaluations: int


def threshold(
    reach: Reach,
    ranking: Ranking,
    budget: Budget,
    *,
    floor: int = 1,
    costs: Mapping[str, Quadratic] | None = None,
    least: Least | None = None,
) -> Chosen:
    """The lowest threshold whose survivors meet every cap.

    Args:
        reach: The reachability of the network's filters.
        ranking: Their importance.
        budget: The caps; one on non-zero parameters is met through all parameters.
        floor: Fewest filters of a layer, as far as they are reached and read.
        costs: Forms of cost that take the place of the split graph's own, by name.
        least: What layers need, if it was found out before.

    Returns:
        The survivors, closed under reachability, with no layer empty.

    Raises:
        BudgetError: If even one filter a layer is too much; names a cost that can be had.
    """
    least = least or Least(reach, floor)
    scores = _scores(reach, ranking)
    found = _search(least, ranking, scores, budget, costs, None)
    if found is not None:
        return found
    # What the best filter of every layer costs depends on which channels they write. There may be
    # less, which no weight has a say in: `smallest`.
    core = within(least, budget, lambda structure: priced(structure, costs))
    found = _search(least, ranking, scores, budget, costs, core)
    return found or Chosen(core, np.inf, 1)


def survivors(
    reach: Reach,
    ranking: Ranking,
    limit: float,
    floor: int = 1,
    *,
    least: Least | None = None,
    core: Structure | None = None,
) -> Structure:
    """The filters whose importance over what survives is above `limit`: a fixed point.

    Filters only ever fall out, so it ends after at most as many rounds as there are filters. Where
    that leaves a layer without filters or inputs, the best that it needs come back.

    Args:
        reach: The reachability of the network's filters.
        ranking: Their importance.
        limit: The threshold.
        floor: Fewest filters of a layer.
        least: What layers need, if it was found out before.
        core: What stays in any case, in the place of the best filter of every layer.
    """
    keep = np.ones(reach.split.graph.units, dtype=bool)
    while True:
        chosen = keep.copy()
        reach.forwards(chosen, _chooser(reach, ranking, keep, limit, floor, core))
        found = reach.closed(chosen)
        if (found.keep == keep).all():
            break
        keep = found.keep.copy()
    least = least or Least(reach, floor)
    return found if least.met(found) else least.filled(found, _scores(reach, ranking))


def smallest(least: Least) -> Iterator[Structure]:
    """Structures with as few filters as layers can do with, by several orders of the channels.

    No weight has a say in them, so that a cap that one of them meets can be met whatever training
    does. Filters that write one channel of a trunk stand together in such an order, since few
    channels cost little where they are read.
    """
    reach, coupled = least.reach, least.reach.split.coupled
    first = np.array([axis.first for axis in coupled.axes], dtype=np.int64)
    place = np.arange(coupled.units) - np.repeat(first, coupled.sizes)
    random = np.random.default_rng(0)
    orders = [-place, place, *(random.permutation(coupled.units) for _ in range(6))]
    for order in orders:
        scores = _of_filters(reach, order)
        found = survivors(reach, fixed(reach.split, scores), np.inf, least.floor, least=least)
        yield least.reduced(found, scores)


def within(least: Least, budget: Budget, price: Callable[[Structure], Cost]) -> Structure:
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
    least: Least,
    ranking: Ranking,
    scores: Floats,
    budget: Budget,
    costs: Mapping[str, Quadratic] | None,
    core: Structure | None,
) -> Chosen | None:
    """The lowest threshold that fits; None if the highest does not."""

    def left(place: int) -> Structure:
        limit = float(limits[place])
        return survivors(least.reach, ranking, limit, least.floor, least=least, core=core)

    values = np.unique(scores[least.reach.split.free])
    limits = np.concatenate(([-np.inf], values, [np.inf]))
    low, high, tried = 0, len(limits) - 1, 1
    best = left(high)
    if not fits(best, budget, costs):
        return None
    if fits(least.whole, budget, costs):
        return Chosen(least.whole, float(limits[0]), tried)
    while high - low > 1:
        middle = (low + high) // 2
        found = left(middle)
        tried += 1
        if fits(found, budget, costs):
            high, best = middle, found
        else:
            low = middle
    return Chosen(best, float(limits[high]), tried)


def fits(
    structure: Structure, budget: Budget, costs: Mapping[str, Quadratic] | None = None
) -> bool:
    """Whether a structure is within every cap."""
    return budget.allows(priced(structure, costs))


def priced(structure: Structure, costs: Mapping[str, Quadratic] | None = None) -> Cost:
    """What a structure costs, by its graph's forms or by those given in their place."""
    changed = {
        name: ceil(Fraction(form(structure.widths), form.unit))
        for name, form in (costs or {}).items()
    }
    return replace(cost_of(structure), **changed)


def _chooser(
    reach: Reach,
    ranking: Ranking,
    before: Bools,
    limit: float,
    floor: int,
    core: Structure | None,
) -> Callable[[int, Bools, Bools], Bools]:
    """Chooses the filters of one bank after the other, from the input to the output."""
    split = reach.split

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
        missing = floor - int(wanted.sum())
        if missing > 0:
            order = np.argsort(-np.where(free & ~wanted, scores, -np.inf), kind="stable")
            more = order[: min(missing, int((free & ~wanted).sum()))]
            wanted[more] = True
        return wanted

    return choose


def _scores(reach: Reach, ranking: Ranking) -> Floats:
    """The importance of all filters that may be removed, every input taken for live."""
    split = reach.split
    everything = np.ones(split.coupled.units, dtype=bool)
    found = np.zeros(split.graph.units)
    for bank, numbers in enumerate(split.numbers):
        free = numbers.filters >= split.coupled.units
        found[numbers.filters[free]] = ranking(bank, everything)[free]
    return found


def _of_filters(reach: Reach, channels: Units) -> Floats:
    """The scores of filters, from scores of the channels that they write."""
    split = reach.split
    found = np.zeros(split.graph.units)
    for numbers in split.numbers:
        free = numbers.filters >= split.coupled.units
        found[numbers.filters[free]] = channels[free]
    return found


def _impossible(least: Cost, budget: Budget, floor: int) -> str:
    over = ", ".join(
        f"{name} <= {budget.caps[name]:,} (the smallest has {getattr(least, name):,})"
        for name in budget.excess(least)
    )
    filters = "one filter" if floor == 1 else f"{floor} filters"
    advice = "Raise the budget" if floor == 1 else "Raise the budget or lower floor"
    return f"{over} cannot be reached with {filters} a layer. {advice}."
