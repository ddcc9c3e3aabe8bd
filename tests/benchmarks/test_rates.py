"""The table of rates says what the records say."""

from __future__ import annotations

import pytest

from benchmarks.accuracy.rates import FOUND, RATES, TOLD, report
from benchmarks.common.records import Record, Records


def record(way: str, seed: int, validation: float, rate: float) -> Record:
    key = {"net": "TC-ResNet", "budget": "deep", "way": way, "seed": seed}
    return {**key, "rate": rate, "validation": validation}


@pytest.fixture
def curve() -> list[Record]:
    """Two seeds: 80 % everywhere, 90 and 92 at 0.004."""
    best = {0: 0.90, 1: 0.92}
    return [
        record(rate, seed, best[seed] if rate == "0.004" else 0.8, float(rate))
        for rate in RATES
        for seed in (0, 1)
    ]


def test_the_best_rate_is_bold_and_what_was_not_searched_is_a_dash(curve: list[Record]) -> None:
    page = report(Records(tuple(curve)))
    assert "| TC-ResNet, deep (2) | 80.0 | 80.0 | **91.0** | 80.0 |" in page
    assert page.rstrip().endswith("| - | - | - | - |")
    assert "No records yet" in report(Records(tuple(curve[1:2])))


def test_found_rates_are_said_with_what_they_lose(curve: list[Record]) -> None:
    found = [record(FOUND, 0, 0.9, 0.008), record(FOUND, 1, 0.88, 0.002)]
    page = report(Records((*curve, *found, record(TOLD, 0, 0.9, 0.003))))
    assert page.rstrip().endswith("| 0.008, 0.002 | 2.0 | - | - |"), "a seed of the last is missing"
