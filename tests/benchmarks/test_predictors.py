"""The tables of predictors on records that are worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.accuracy.predictors import LAST, STRUCTURES, outcome, report, seeds
from benchmarks.common.records import Record, Records


def records(seed: int, *, shift: float = 0.0) -> Iterator[Record]:
    """Structure k ends at 50 + k percent; its loss before is 10 - k, after an epoch k."""
    for k, structure in enumerate(STRUCTURES):
        key = {"net": "TC-ResNet", "structure": structure, "seed": seed}
        same = {"accuracy": 0.5, "distance": 1.0}
        yield {**key, "moment": "before repair", "loss": 10.0 - k, **same}
        yield {**key, "moment": "after repair", "loss": 1.0, **same}
        yield {**key, "moment": "after one short epoch", **same, "loss": k, "accuracy": 0.01 * k}
        level = 0.50 + 0.01 * k + shift
        yield {**key, "moment": LAST, "validation": level, "test": 1.0 - level}


def test_predictors_are_judged_by_the_mean_outcome() -> None:
    found = Records((*records(0), *records(1, shift=0.02)))
    assert seeds(found, "TC-ResNet") == [0, 1]
    assert outcome(found, "TC-ResNet", "validation")[0] == pytest.approx(51)
    lines = {line.split(" | ")[1]: line for line in report(found).splitlines() if " | " in line}
    worst = f"{len(STRUCTURES) - 1:.1f} (0.0)"
    assert f"+1.00 (0.0) | 0.0 (0.0) | -1.00 (0.0) | {worst}" in lines["loss before repair"]
    assert f"| +0.00 (0.0) | {worst} |" in lines["accuracy before repair"]
    assert f"| -1.00 (0.0) | {worst} |" in lines["loss after one short epoch"]
    assert "+1.00 (0.0) | 0.0 (0.0)" in lines["accuracy after one short epoch"]


def test_a_seed_counts_when_all_structures_are_tuned() -> None:
    found = Records((*records(0), *list(records(1))[:-1]))
    assert seeds(found, "TC-ResNet") == [0]
    assert "| TC-ResNet |" not in report(Records(tuple(records(1))[:-1]))
