"""The table of defaults: chosen on validation, reported on the test, paired by seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.accuracy.defaults import (
    DEFAULT,
    DEFAULTS,
    FINAL,
    FOUND,
    PAIRS,
    RIVALS,
    STRUCTURES,
    cell_rows,
    finalists,
    ranking,
    runs,
    seeds_of,
)
from benchmarks.common.records import Record, Records

CELL = ("TC-ResNet", "deep")
FIRST_WAY = next(iter(STRUCTURES))
LEVELS = {
    (DEFAULT, FOUND): (0.80, 0.70),
    (FIRST_WAY, "3e-3"): (0.90, 0.65),
    ("Torch-Pruning local", "1e-2"): (0.85, 0.60),
}


def records(seed: int) -> Iterator[Record]:
    for way, rate in PAIRS:
        validation, test = LEVELS.get((way, rate), (0.10, 0.99))
        key = {"net": "TC-ResNet", "budget": "deep", "way": way, "rate": rate, "seed": seed}
        if way == "torch-kirigami":
            yield {**key, "refused": "too slow"}
        else:
            yield {**key, "validation": validation + 0.02 * seed, "test": test + 0.04 * seed}


def final(seed: int) -> Iterator[Record]:
    """Records of the seed of what is run with all seeds."""
    wanted = finalists(Records(tuple(records(0))), *CELL)
    return (r for r in records(seed) if (r["way"], r["rate"]) in wanted)


def test_the_best_is_that_of_the_validation_part() -> None:
    """The grid's other cells have the better test accuracy, which is not looked at."""
    found = Records((*records(0), *final(1)))
    rows = {row[1]: row for row in cell_rows(found, *CELL)}
    cell = "TC-ResNet, deep (2)"
    assert rows[DEFAULT] == [cell, DEFAULT, FOUND, "81.0 (1.0)", "72.0 (2.0)", ""]
    assert rows["grid"][2:5] == [f"{FIRST_WAY}, 3e-3", "91.0 (1.0)", "67.0 (2.0)"]
    assert rows["Torch-Pruning local"][5] == "+10.0 (0.0)"
    assert rows["torch-kirigami"][3:] == ["none", "none", ""]


def test_finalists_are_the_defaults_the_best_of_the_grid_and_of_every_rival() -> None:
    whole = Records(tuple(records(0)))
    chosen = finalists(whole, *CELL)
    assert chosen[:2] == [(way, FOUND) for way in DEFAULTS]
    assert chosen[2] == (FIRST_WAY, "3e-3")
    assert [way for way, _ in chosen[2:] if way in STRUCTURES] == [w for w, _ in chosen[2:5]]
    assert ("Torch-Pruning local", "1e-2") in chosen
    assert len(chosen) == len(DEFAULTS) + FINAL + len(RIVALS) - 1  # torch-kirigami refused
    assert finalists(Records(whole.found[1:]), *CELL) == []


def test_a_seed_counts_when_all_finalists_are_there() -> None:
    whole = Records((*records(0), *final(1), *list(final(2))[1:]))
    assert seeds_of(whole, *CELL) == [0, 1]
    assert seeds_of(Records(whole.found[1:]), *CELL) == []
    assert ranking(whole, *CELL, ["torch-kirigami"], [0]) == []


@pytest.mark.parametrize("ways", [[DEFAULT], list(STRUCTURES)])
def test_runs_of_some_ways(ways: list[str]) -> None:
    """The deep budget comes first, and `fit` has one rate; other seeds wait for the first."""
    keys = [run.key for run in runs(Records(), [CELL[0]], ["mild", "deep"], ways, [0, 1])]
    assert keys[0]["budget"] == "deep"
    assert len(keys) == 2 * (1 if ways == [DEFAULT] else 3 * len(STRUCTURES))


def test_other_seeds_run_the_finalists() -> None:
    whole = Records(tuple(records(0)))
    keys = [run.key for run in runs(whole, [CELL[0]], ["deep"], [DEFAULT, *STRUCTURES], [1])]
    assert [(k["way"], k["rate"]) for k in keys] == [
        (DEFAULT, FOUND), *finalists(whole, *CELL)[2 : 2 + FINAL]
    ]  # fmt: skip
