"""One global threshold on single filters, as in the FAU submission to DCASE 2022, section 2.3.

All filters stand in one list, with all inputs taken for reachable, and a binary search finds the
lowest threshold whose survivors meet every cap. In every step of the search a reachability
analysis says which inputs a filter still has, its importance is taken over those alone, and this
goes on until nothing changes any more. At least one filter of every layer stays: "we ensure that
at least one output channel is active, such that the network is not disconnected".

The report does not say which filter it is that stays; here it is the best one that something
reaches, so that what follows is reached as well. Whether survivors fit need not be monotone in the
threshold; the search returns the last that fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np

from compressor.budget import Budget, Cost
from compressor.descent import cost
from compressor.errors import BudgetError
from compressor.filters.ranking import Floats, Ranking
from compressor.filters.reach import Reach
from compressor.filters.split import Bools
from compressor.graph import Quadratic
from compressor.structure import Structure


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
) -> Chosen:
    """The lowest threshold whose survivors meet every cap.

    Args:
        reach: The reachability of the network's filters.
        ranking: Their importance.
        budget: The caps; one on non-zero parameters is met through all parameters.
        floor: Fewest filters of a layer, as far as they are reached and read.
        costs: Forms of cost that take the place of the split graph's own, by name.

    Returns:
        The survivors, closed under reachability.

    Raises:
        BudgetError: If even one filter a layer is too much.
    """
    limits = np.concatenate(([-np.inf], np.unique(_scores(reach, ranking)), [np.inf]))
    low, high, tried = 0, len(limits) - 1, 1
    best = survivors(reach, ranking, float(limits[high]), floor)
    if not fits(best, budget, costs):
        raise BudgetError(_impossible(priced(best, costs), budget, floor))
    whole = reach.closed(np.ones(reach.split.graph.units, dtype=bool))
    if fits(whole, budget, costs):
        return Chosen(whole, float(limits[0]), tried)
    while high - low > 1:
        middle = (low + high) // 2
        found = survivors(reach, ranking, float(limits[middle]), floor)
        tried += 1
        if fits(found, budget, costs):
            high, best = middle, found
        else:
            low = middle
    return Chosen(best, float(limits[high]), tried)


def survivors(reach: Reach, ranking: Ranking, limit: float, floor: int = 1) -> Structure:
    """The filters whose importance over what survives is above `limit`: a fixed point.

    Filters only ever fall out, so it ends after at most as many rounds as there are filters.
    """
    keep = np.ones(reach.split.graph.units, dtype=bool)
    while True:
        chosen = keep.copy()
        reach.forwards(chosen, _chooser(reach, ranking, keep, limit, floor))
        found = reach.closed(chosen)
        if (found.keep == keep).all():
            return found
        keep = found.keep.copy()


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
    return replace(cost(structure), **changed)


def _chooser(
    reach: Reach, ranking: Ranking, before: Bools, limit: float, floor: int
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
    found = [np.zeros(0)]
    for bank, numbers in enumerate(split.numbers):
        free = numbers.filters >= split.coupled.units
        found.append(ranking(bank, everything)[free])
    return np.concatenate(found)


def _impossible(least: Cost, budget: Budget, floor: int) -> str:
    over = ", ".join(
        f"{name} <= {budget.caps[name]:,} (the smallest has {getattr(least, name):,})"
        for name in budget.excess(least)
    )
    filters = "one filter" if floor == 1 else f"{floor} filters"
    advice = "Raise the budget" if floor == 1 else "Raise the budget or lower floor"
    return f"{over} cannot be reached with {filters} a layer. {advice}."
