"""The table of the folds: means over clips, greatest counts, goals against what was found."""

from __future__ import annotations

from typing import Any

from recipes.folds.settings import CONTROL, DENSE
from recipes.folds.summary import mean, rows, verdict

SMALL = "128k, 30M"
INTEGERS = "128k, 30M, 64 KiB"


def record(accuracy: float, **more: Any) -> dict[str, Any]:
    usual = {"dense": 80.0, "clips": 400, "params": 127_000, "macs": 29_000_000, "bytes": 60_000}
    return {**usual, "accuracy": accuracy, "CPU seconds": 60, **more}


def test_a_row_has_the_mean_the_greatest_and_the_drop() -> None:
    found = {SMALL: [record(75.0), record(78.0, params=128_000)]}
    assert rows(found) == [
        [
            SMALL, "2", "128,000", "29,000,000", "60,000", "76.50 %", "+3.50",
            ">= 76.0: reached", "60",
        ]
    ]  # fmt: skip


def test_clips_count_alike_whatever_their_fold() -> None:
    assert mean([record(100.0, clips=100), record(50.0, clips=300)]) == 62.5


def test_a_missed_goal_says_by_how_much_and_a_cap_that_is_broken_comes_first() -> None:
    assert verdict(SMALL, {SMALL: [record(70.0)]}) == ">= 76.0: missed by 6.00"
    over = {SMALL: [record(99.0, macs=30_000_001)]}
    assert verdict(SMALL, over) == "over its cap on macs"
    over = {INTEGERS: [record(99.0, bytes=65_537)]}
    assert verdict(INTEGERS, over) == "over its cap on bytes"


def test_integers_are_held_against_the_same_caps_without_them() -> None:
    assert not verdict(INTEGERS, {INTEGERS: [record(70.0)]})
    both = {INTEGERS: [record(70.0)], SMALL: [record(71.5)]}
    assert verdict(INTEGERS, both) == ">= 70.5: missed by 0.50"
    both = {INTEGERS: [record(70.6)], SMALL: [record(71.5)]}
    assert verdict(INTEGERS, both) == ">= 70.5: reached"


def test_dense_networks_have_no_drop_of_their_own_and_no_goal() -> None:
    (row,) = rows({DENSE: [record(80.0, **{"CPU seconds": None})]})
    assert row[-3:] == ["", "", "-"]
    assert not verdict(CONTROL, {CONTROL: [record(80.0)]})
