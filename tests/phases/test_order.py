"""Advice on the order of phases is followed, word by word, and leads to a schedule that works."""

from __future__ import annotations

import re
from itertools import product

import pytest

from compressor import (
    Budget,
    FilterPruning,
    FineTune,
    FrequencyMask,
    Half,
    Int8,
    Joint,
    Prune,
    Recalibrate,
    Session,
    Train,
    Unstructured,
    fit,
)
from compressor.errors import BudgetError
from compressor.inputs.batches import Batches
from compressor.phases import Phase
from compressor.phases.order import broken, check_order, mended
from compressor.phases.schedule import check_reachable
from tests.helpers.tiny import loader, refuses, tiny

PHASES: tuple[Phase, ...] = (
    Train(epochs=1),
    FrequencyMask(keep=6, epochs=1),
    Prune(),
    FilterPruning(),
    Recalibrate(),
    FineTune(epochs=1),
    Unstructured(),
    Unstructured(amount=0.5),
    Joint(),
    Half(),
    Int8(epochs=1),
)
SCHEDULES = [schedule for length in (1, 2, 3) for schedule in product(PHASES, repeat=length)]


def test_every_pair_and_triple_is_right_or_gets_advice_that_is() -> None:
    for schedule in SCHEDULES:
        found = broken(schedule)
        if found is None:
            assert mended(schedule) == schedule
            continue
        right = mended(schedule)
        assert broken(right) is None
        assert right != schedule
        check_order(right)
        with pytest.raises(ValueError, match="In order, with your settings: ") as caught:
            check_order(schedule)
        told = str(caught.value).rpartition(": ")[2].split(", ")
        assert told == [type(phase).__name__ for phase in right]


def test_advice_names_no_phase_that_is_not_there() -> None:
    """But for what it tells to put in."""
    kinds = {type(phase).__name__ for phase in PHASES}
    remedies = {"Int8", "FineTune"}
    for schedule in SCHEDULES:
        found = broken(schedule)
        if found is not None:
            named = set(re.findall(r"\w+", found[0])) & kinds
            assert named <= {type(phase).__name__ for phase in schedule} | remedies, found[0]


def test_every_kind_but_the_doubled_stays() -> None:
    """Advice drops what stands twice or excludes another, and nothing else."""
    for schedule in SCHEDULES:
        kinds = [type(phase) for phase in schedule]
        ends = sum(kind in (Half, Int8) for kind in kinds)
        apart = Joint in kinds and ({Unstructured, Half} & {*kinds})
        twice = len({*kinds}) < len(kinds)
        if ends < 2 and not apart and not twice:
            assert {type(phase) for phase in mended(schedule)} >= {*kinds}


@pytest.mark.parametrize(
    ("schedule", "right"),
    [
        ([Prune(), Half(), Int8(1)], "Prune, Int8"),
        ([Prune(), Int8(1), Half()], "Prune, Int8"),
        ([Half(), Half()], "Half"),
        ([Int8(1), Prune()], "Prune, Int8"),
        ([Joint(), Half()], "Joint, Int8"),
        ([Joint(), FineTune(1)], "Joint, FineTune, Int8"),
        ([Train(epochs=1), Train(epochs=1), Prune()], "Train, FineTune, Prune"),
        ([Prune(), Train(epochs=1)], "Train, Prune"),
        ([FilterPruning(), Joint(), Int8(1)], "Joint, FilterPruning, Int8"),
    ],
)
def test_fit_says_so_before_it_looks_at_the_model(schedule: list[Phase], right: str) -> None:
    with refuses(f"with your settings: {right}$"):
        fit(tiny(), loader(8), budget=Budget(bytes=9_000), schedule=schedule)


BUDGETS = [Budget(bytes=9_000), Budget(nonzero=900), Budget(macs=40_000, params=2_000)]


def refusal(session: Session, schedule: list[Phase]) -> str:
    """What stops a schedule from meeting the session's caps; empty for nothing."""
    try:
        check_reachable(session, schedule)
    except BudgetError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_advice_about_caps_leads_on(budget: Budget) -> None:
    """Who puts Prune() where it is told to is not refused again."""
    session = Session(tiny(width=12), budget=budget, prune=None, data=Batches(loader(8)))
    followed = 0
    for schedule in ([Half()], [Unstructured(amount=0.1)], [FineTune(1)], [FineTune(1), Half()]):
        said = refusal(session, schedule)
        if said:
            told = re.search(r"put Prune\(\) (?:before (\w+)|into it)", said)
            kinds = [type(phase).__name__ for phase in schedule]
            assert told, said
            assert {*re.findall(r"\w+", said)} & {"Unstructured", "Int8"} <= {*kinds}
            place = kinds.index(told[1]) if told[1] else 0
            assert not refusal(session, [*schedule[:place], Prune(), *schedule[place:]])
            followed += 1
    assert followed
