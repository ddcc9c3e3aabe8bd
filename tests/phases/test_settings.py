"""`fit(epochs=..., lr=...)`: what goes to the default schedule, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from compressor import Budget, FineTune, Prune, Train, fit
from compressor.phases.settings import epochs_of, rate_known
from tests.helpers.tiny import loader, refuses, tiny

CAPS = Budget(params=700, macs="30k")


def test_the_default_fine_tune_is_so_long() -> None:
    log = fit(tiny(), loader(), budget=CAPS, epochs=2).report.log
    assert [e.phase for e in log] == ["FineTune"] * 2
    assert epochs_of(None, None, data=True) == 30
    assert epochs_of(None, [Prune()], data=False) == 30, "what nobody asks for is no fault"


@pytest.mark.slow
def test_bytes_too() -> None:
    log = fit(tiny(), loader(), budget=Budget(bytes=2500), epochs=1).report.log
    assert [e.phase for e in log].count("FineTune") == 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epochs": 0}, r"fit\(epochs=0\): must be a whole number, at least 1"),
        ({"epochs": 2.5}, r"fit\(epochs=2.5\): must be a whole number"),
        (
            {"epochs": 5, "schedule": [Prune(), FineTune()]},
            r"fit\(epochs=5\) .* a schedule was given: write FineTune\(epochs=5\) into the sch",
        ),
        (
            {"epochs": 5, "data": None},
            r"fit\(epochs=5\) .* without labelled data nothing is trained",
        ),
        ({"lr": 0}, r"fit\(lr=0\): must be a number, more than 0"),
        ({"lr": "fast"}, r"fit\(lr='fast'\): must be a number, more than 0"),
        (
            {"lr": 1e-2, "schedule": [Prune(), FineTune(lr=1e-3)]},
            r"fit\(lr=0.01\) .* no phase of the schedule looks for one: .* FineTune\(lr=0.01\)",
        ),
        ({"lr": 1e-2, "data": None}, r"no phase of the schedule looks for one"),
    ],
)
def test_what_would_be_of_no_use_is_refused(options: dict[str, Any], match: str) -> None:
    data = options.pop("data", loader())
    with refuses(match):
        fit(tiny(), data, budget=CAPS, **options)


def test_a_rate_is_looked_for_around_the_one_that_is_known() -> None:
    """Said by `fit`, else by the training of the dense network; a rate that is given stays."""
    data = loader(256)
    said = fit(tiny(), data, budget=CAPS, schedule=[Prune(), FineTune(1)], lr=2e-3).report.rates
    assert [rate for rate, _ in said[0].tried][-4:] == pytest.approx([5e-4, 1e-3, 2e-3, 4e-3])
    schedule = [Train(1, lr=8e-3), Prune(), FineTune(1), FineTune(1, lr=1e-4)]
    trained = fit(tiny(), data, budget=CAPS, schedule=schedule).report.rates
    assert [rate.phase for rate in trained] == ["FineTune"]
    assert [rate for rate, _ in trained[0].tried][-4:] == pytest.approx([2e-3, 4e-3, 8e-3, 1.6e-2])
    assert rate_known(1e-2, [Train(1), FineTune(1)]) == 1e-2
    assert rate_known(None, [FineTune(1)]) is None
