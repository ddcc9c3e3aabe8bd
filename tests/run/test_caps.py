"""Shares of the network given: the bits, file and checkpoints of the same caps in numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compressor import (
    Budget,
    BudgetError,
    FineTune,
    Onnx,
    Prune,
    Report,
    Result,
    ResumeError,
    Session,
    Tflite,
    allocate,
    fit,
    importance,
    measure,
    trace,
    working_memory,
)
from compressor.budget import File
from compressor.run.history import Epoch
from tests.helpers.tiny import TwoInputs, equal, loader, tiny

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
    said = f"under bytes <= {report.files[0] // 2:,} of the file (50% of {report.files[0]:,})"
    assert said in str(report)
    assert str(Report.from_json(report.json()).budget) == str(report.budget)


def test_a_graph_takes_shares_of_bytes_of_the_parameters() -> None:
    model = tiny()
    graph = trace(model)
    scores = importance.l1(graph, dict(model.named_parameters()))
    cost, budget = measure(model), Budget(bytes="50%")
    assert str(budget.resolved(cost)).startswith(f"bytes <= {cost.bytes // 2:,} of the parameters")
    found = [allocate(graph, scores, one) for one in (budget, Budget(bytes=cost.bytes // 2))]
    assert (found[0].widths == found[1].widths).all()
    assert found[0].cost.bytes <= cost.bytes // 2


@pytest.mark.parametrize("cap", [2668, "60%"])
@pytest.mark.parametrize("file", [Tflite(), Onnx()], ids=["tflite", "onnx"])
def test_a_graph_alone_knows_no_other_file(file: File, cap: int | str) -> None:
    graph = trace(tiny())
    budget = Budget(bytes=cap, file=file)
    why = f"bytes <= (2,668|60%) of the {file.name} was asked of a graph alone.*fit or Session"
    with pytest.raises(BudgetError, match=why):
        allocate(graph, np.ones(graph.units), budget)
    form = graph.combined(1, (graph.weights["head.weight"].dims[1],))  # bytes that a form says
    whole = form(graph.sizes)
    held = Budget(bytes="60%" if isinstance(cap, str) else whole * 6 // 10, file=file)
    found = allocate(graph, np.ones(graph.units), held, costs={"bytes": form})
    assert form(found.widths) == whole * 6 // 10


def test_a_graph_alone_knows_no_share_of_the_ram() -> None:
    graph = trace(tiny())
    with pytest.raises(BudgetError, match=r"ram <= 50% was asked of a graph alone.*fit or Session"):
        allocate(graph, np.ones(graph.units), Budget(ram="50%"))


@pytest.mark.parametrize("cap", [3000, "50%"])
def test_a_model_without_a_tflite_is_refused_for_a_share_as_for_a_number(cap: int | str) -> None:
    pytest.importorskip("flatbuffers")
    model = nn.Sequential(nn.Conv3d(1, 8, 3), nn.Flatten(), nn.Linear(64, 4))
    budget = Budget(bytes=cap, file=Tflite())
    with pytest.raises(BudgetError, match=r"a cap on bytes is on the \.tflite file.*there is none"):
        fit(model, budget=budget, example=torch.zeros(1, 1, 4, 4, 4))


@pytest.mark.slow
@pytest.mark.parametrize("file", [None, Tflite(), Onnx()], ids=["own", "tflite", "onnx"])
def test_a_session_knows_the_bytes_of_a_share(file: File | None) -> None:
    pytest.importorskip("flatbuffers")
    pytest.importorskip("onnx")
    model, budget = tiny(), Budget(bytes="80%", file=file)
    session = Session(model, budget=budget, weight_bits=None if file else 32)
    report = fit(model, budget=budget).report
    assert session.budget == report.budget
    assert str(session.budget) == str(report.budget)


def test_a_budget_is_of_each_network_that_it_is_given_for() -> None:
    budget = Budget(macs="50%", params="60%")
    models = [tiny(), TwoInputs(), tiny()]
    found = [fit(model, budget=budget).report for model in models]
    for model, report in zip(models, found, strict=True):
        cost = measure(model)
        assert report.budget.caps == {"params": cost.params * 6 // 10, "macs": cost.macs // 2}
    assert found[0].budget != found[1].budget
    assert found[0].after == found[2].after
    assert budget == Budget(macs="50%", params="60%")
    assert budget.unresolved


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
    del data["shares"]  # as reports from before there were shares
    old = Report.from_json(json.dumps(data))
    assert old.budget == report.budget
    assert str(old.budget) == "macs <= 15,904"


@pytest.mark.slow
@pytest.mark.parametrize("shares", [{"macs": "60%"}, {"bytes": "60%"}], ids=str)
def test_a_run_of_a_share_is_not_gone_on_with_for_another_model(
    tmp_path: Path, shares: dict[str, Any]
) -> None:
    budget, schedule = Budget(**shares), [Prune(), FineTune(epochs=1, lr=1e-3)]

    def run(model: nn.Module, budget: Budget) -> Result:
        data = loader(16, batch=16)
        return fit(model, data, budget=budget, schedule=schedule, checkpoint=tmp_path)

    first = run(tiny(), budget)
    assert equal(run(tiny(), budget).model, first.model)
    with pytest.raises(ResumeError, match="another run"):
        run(tiny(width=12), budget)
    other = tiny()
    with torch.no_grad():
        other.head.bias += 1
    with pytest.raises(ResumeError, match="another run"):
        run(other, budget)
    with pytest.raises(ResumeError, match="another run"):
        run(tiny(), Budget(**dict.fromkeys(shares, "61%")))


@pytest.mark.slow
def test_a_loop_with_shares_is_not_gone_on_with_for_another_model(tmp_path: Path) -> None:
    def started(model: nn.Module) -> Session:
        schedule = [Prune(), FineTune(epochs=1, lr=1e-3)]
        return Session(
            model, budget=Budget(macs="50%"), schedule=schedule, data=loader(16, batch=16),
            checkpoint=tmp_path,
        )  # fmt: skip

    started(tiny()).close()
    with started(tiny()) as session:
        assert str(session.budget) == "macs <= 15,904 (50% of 31,808)"
    with pytest.raises(ResumeError, match="another run"):
        started(tiny(width=12))


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
