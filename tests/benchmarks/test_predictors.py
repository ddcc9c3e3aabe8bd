"""The tables of predictors on records that are worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.accuracy.predictors import RATES, STRUCTURES, outcome, seeds, tables
from benchmarks.common.records import Record, Records

NET = "TC-ResNet"


def measured(seed: int) -> Iterator[Record]:
    """Structure k has loss 10 - k before repair, and k after an epoch."""
    for k, structure in enumerate(STRUCTURES):
        key = {"net": NET, "structure": structure, "seed": seed}
        same = {"accuracy": 0.5, "distance": 1.0}
        yield {**key, "moment": "before repair", "loss": 10.0 - k, **same}
        yield {**key, "moment": "after repair", "loss": 1.0, **same}
        yield {**key, "moment": "after one short epoch", **same, "loss": k, "accuracy": 0.01 * k}


def tuned(seed: int) -> Iterator[Record]:
    """Structure k ends at 50 + k percent at its best rate, where its test accuracy is 50 - k."""
    for k, structure in enumerate(STRUCTURES):
        for rate in RATES:
            key = {"net": NET, "budget": "deep", "way": structure, "rate": rate, "seed": seed}
            level = 0.50 + 0.01 * k if rate == RATES[1] else 0.2
            yield {**key, "validation": level, "test": 1.0 - level}


def test_predictors_are_judged_by_the_outcome_at_the_best_rate() -> None:
    found, after = Records((*measured(0), *measured(1))), Records((*tuned(0), *tuned(1)))
    assert seeds(found, after, NET) == [0, 1]
    assert outcome(after, NET, "validation", 1)[:2] == pytest.approx([50, 51])
    assert outcome(after, NET, "test", 1)[:2] == pytest.approx([50, 49])
    page = tables(found, after).splitlines()
    lines = {line.split(" | ")[1]: line for line in page if " | " in line}
    worst = f"{len(STRUCTURES) - 1:.1f} (0.0)"
    assert f"+1.00 (0.0) | 0.0 (0.0) | -1.00 (0.0) | {worst}" in lines["loss before repair"]
    assert f"| +0.00 (0.0) | {worst} |" in lines["accuracy before repair"]
    assert f"| -1.00 (0.0) | {worst} |" in lines["loss after one short epoch"]
    assert "+1.00 (0.0) | 0.0 (0.0)" in lines["accuracy after one short epoch"]


def test_a_seed_counts_when_all_structures_are_measured_and_tuned() -> None:
    found = Records((*measured(0), *measured(1)))
    assert seeds(found, Records((*tuned(0), *list(tuned(1))[1:])), NET) == [0]
    assert seeds(Records(tuple(measured(0))[1:]), Records(tuple(tuned(0))), NET) == []
    assert f"| {NET} |" not in tables(Records(tuple(measured(0))), Records())
