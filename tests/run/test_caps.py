"""Shares of the network given: the bits, file and checkpoints of the same caps in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from compressor import (
    Budget,
    FineTune,
    Onnx,
    Prune,
    Report,
    Result,
    Session,
    Tflite,
    allocate,
    fit,
    importance,
    measure,
    trace,
    working_memory,
)
from compressor.run.history import Epoch
from tests.helpers.tiny import equal, loader, tiny

SHARES: list[dict[str, Any]] = [
    {"macs": "50%"},
    {"params": "33.3%", "macs": "70%"},
    {"nonzero": "60%", "params": 1_000},
]


@pytest.mark.parametrize("shares", SHARES, ids=str)
def test_a_share_gives_the_bits_of_its_number(shares: dict[str, Any]) -> None:
    budget, model = Budget(**shares), tiny()
    number = Budget(**budget.resolved(measure(model)).caps)
    assert number != budget
    share, plain = (fit(model, budget=one) for one in (budget, number))
    assert equal(share.model, plain.model)
    assert share.report.budget == plain.report.budget == number
    assert equal(Session(model, budget=budget).finish().model, plain.model)


@pytest.mark.parametrize("shares", SHARES, ids=str)
def test_a_share_of_a_graph_is_one_of_all_of_it(shares: dict[str, Any]) -> None:
    model = tiny()
    graph = trace(model)
    scores = importance.l1(graph, dict(model.named_parameters()))
    dense = allocate(graph, scores, Budget(params=10**6)).cost
    budget = Budget(**shares)
    found = [allocate(graph, scores, one) for one in (budget, budget.resolved(dense))]
    assert (found[0].widths == found[1].widths).all()
    assert found[0].cost == found[1].cost


def test_a_share_of_the_bytes_is_one_of_the_file_before() -> None:
    report = fit(tiny(), budget=Budget(bytes="50%")).report
    assert report.files is not None
    assert report.budget == Budget(bytes=report.files[0] // 2)
    assert report.files[1] <= report.files[0] // 2


@pytest.mark.slow
@pytest.mark.parametrize(("file", "package"), [(Tflite(), "flatbuffers"), (Onnx(), "onnx")])
def test_a_share_of_another_file_is_one_of_that(file: Any, package: str) -> None:
    pytest.importorskip(package)
    report = fit(tiny(), budget=Budget(bytes="80%", file=file)).report
    assert report.files is not None
    assert report.budget == Budget(bytes=report.files[0] * 4 // 5, file=file)


def test_a_share_of_the_ram_is_one_of_what_the_file_would_need() -> None:
    model = tiny()
    report = fit(model, budget=Budget(ram="60%")).report
    whole = working_memory(model).peak.bytes
    assert report.budget == Budget(ram=whole * 6 // 10)
    assert report.before.ram == whole
    assert report.memory is not None
    assert report.memory.peak.bytes <= whole * 6 // 10


def test_a_report_says_both_and_is_read_again() -> None:
    report = fit(tiny(), budget=Budget(macs="50%")).report
    assert "under macs <= 15,904 (50% of 31,808)" in str(report)
    again = Report.from_json(report.json())
    assert str(again.budget) == str(report.budget)
    data = report.data()
    assert data["budget"] == {"macs": 15_904}
    assert data["shares"] == {"macs": "50% of 31,808"}


class StopError(Exception):
    pass


@pytest.mark.slow
def test_a_run_with_shares_that_was_stopped_ends_in_the_same_bits(tmp_path: Path) -> None:
    schedule = [Prune(steps=2, epochs=1), FineTune(epochs=2, lr=1e-3)]

    def run(folder: Path | None, budget: Budget, stop: int = 99) -> Result:
        def watch(log: Sequence[Epoch]) -> None:
            if len(log) == stop:
                raise StopError

        data = loader(32, batch=16)
        return fit(
            tiny(), data, budget=budget, schedule=schedule, checkpoint=folder, on_epoch=watch
        )

    shares = Budget(params="50%", macs="60%")
    whole = run(None, shares)
    for stop in (1, 3):
        folder = tmp_path / str(stop)
        folder.mkdir()
        with pytest.raises(StopError):
            run(folder, shares, stop)
        assert equal(run(folder, shares).model, whole.model)
    assert equal(run(None, Budget(**whole.report.budget.caps)).model, whole.model)
