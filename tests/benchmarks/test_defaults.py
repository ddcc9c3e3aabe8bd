"""The table of defaults: chosen on validation, reported on the test, paired by seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.accuracy.defaults import (
    DEFAULT,
    FOUND,
    PAIRS,
    STRUCTURES,
    best,
    cell_rows,
    runs,
    seeds_of,
)
from benchmarks.common.records import Record, Records

FIRST = next(iter(STRUCTURES))
LEVELS = {
    (DEFAULT, FOUND): (0.80, 0.70),
    (FIRST, "3e-3"): (0.90, 0.65),
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


def test_the_best_is_that_of_the_validation_part() -> None:
    """The grid's other cells have the better test accuracy, which is not looked at."""
    found = Records((*records(0), *records(1)))
    rows = {row[1]: row for row in cell_rows(found, "TC-ResNet", "deep")}
    cell = "TC-ResNet, deep (2)"
    assert rows[DEFAULT] == [cell, DEFAULT, FOUND, "81.0 (1.0)", "72.0 (2.0)", ""]
    assert rows["grid"][2:5] == [f"{FIRST}, 3e-3", "91.0 (1.0)", "67.0 (2.0)"]
    assert rows["Torch-Pruning local"][5] == "+10.0 (0.0)"
    assert rows["torch-kirigami"][3:] == ["none", "none", ""]


def test_a_seed_counts_when_all_ways_are_there() -> None:
    found = Records((*records(0), *list(records(1))[1:]))
    assert seeds_of(found, "TC-ResNet", "deep") == [0]
    assert best(found, "TC-ResNet", "deep", ["torch-kirigami"], [0]) is None


@pytest.mark.parametrize("ways", [[DEFAULT], list(STRUCTURES)])
def test_runs_of_some_ways(ways: list[str]) -> None:
    """The deep budget comes first, and `fit` has one rate."""
    keys = [run.key for run in runs(["TC-ResNet"], ["mild", "deep"], ways, [0])]
    assert keys[0]["budget"] == "deep"
    assert len(keys) == 2 * (1 if ways == [DEFAULT] else 3 * len(STRUCTURES))
