"""A sweep: killed, gone on with, refused, on Ray, and what it says meanwhile."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compressor import (
    Budget,
    FineTune,
    Prune,
    ResumeError,
    Sweep,
    fit,
    measure,
    sweep,
)
from compressor.run.claim import claimed
from tests.conftest import ROOT
from tests.helpers.swept import call, narrow, quick, worth
from tests.helpers.tiny import loader, tiny


def rows(found: Sweep) -> list[dict[str, Any]]:
    """All but the time they took."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found.rows]


def test_a_row_is_what_fit_gives() -> None:
    found = {(row["budget"], row["method"]): row for row in quick().rows}
    result = fit(tiny(), budget=Budget(params="50%"))
    row = found["half", "Prune"]
    assert (row["state"], row["why"]) == ("done", "")
    assert row["cap_params"] == result.report.budget.params == measure(tiny()).params // 2
    assert row["value"] == row["params"] == result.report.after.params
    assert row["macs"] == result.report.after.macs
    dense = found["", "dense"]
    assert dense["macs"] == measure(tiny()).macs
    assert dense["cap_params"] is None
    assert found["half", "narrow"]["params"] <= row["cap_params"]
    assert {len(one) for one in found.values()} == {len(row)}


def test_what_a_method_ends_in_is_a_row_and_bad_arguments_are_none() -> None:
    def broken(model: nn.Module, budget: Budget) -> nn.Module:
        del model
        raise KeyError(f"no rule, {budget.caps}")

    def cheats(model: nn.Module, budget: Budget) -> nn.Module:
        del budget
        return model

    methods = {"broken": broken, "cheats": cheats, "none": lambda *_: None, "Prune": Prune()}
    found = quick(methods=methods, budgets=[Budget(macs="1%")])
    why = {row["method"]: row["why"] for row in found.rows}
    assert why["broken"].startswith("KeyError: \"no rule, {'macs': 318}\" (test_running.py, line ")
    assert why["broken"].endswith(", in broken)")
    assert "what it returned has macs 31,808 under macs <= 318" in why["cheats"]
    assert "returned None: a function (model, budget) must return the smaller" in why["none"]
    assert "macs <= 318 cannot be reached" in why["Prune"]
    assert [row["state"] for row in found.rows] == ["done", "failed", *["refused"] * 3]
    with pytest.raises(ValueError, match="with seed 0 gives 3: it must give the network"):
        quick(model=lambda _: 3)


def test_a_network_is_judged_on_a_copy() -> None:
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def harms(network: nn.Module) -> float:
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.zero_()
        return 0.5

    quick(model=model, evaluate=harms)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def test_a_value_that_is_none_is_a_refusal_too() -> None:
    found = quick(evaluate=lambda _: float("nan"), methods=[Prune()])
    assert {row["state"] for row in found.rows} == {"refused"}
    assert "gives nan" in found.rows[0]["why"]
    assert "evaluate(model) must return one number" in quick(evaluate=lambda _: "x").rows[0]["why"]


def test_a_network_a_seed() -> None:
    found = quick(model=lambda seed: tiny(seed, width=8 + 2 * seed), seeds=[0, 1])
    params = {row["seed"]: row["params"] for row in found.rows if row["method"] == "dense"}
    assert params == {seed: measure(tiny(width=8 + 2 * seed)).params for seed in (0, 1)}
    caps = {row["seed"]: row["cap_params"] for row in found.rows if row["budget"] == "half"}
    assert caps == {seed: count // 2 for seed, count in params.items()}


def test_another_pruner_changes_a_copy() -> None:
    model = tiny()
    before = [p.clone() for p in model.parameters()]

    def rude(given: nn.Module, budget: Budget) -> nn.Module:
        with torch.no_grad():
            for parameter in given.parameters():
                parameter.zero_()
        return narrow(given, budget)

    quick(model=model, methods=[rude])
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


class Counted:
    """What a network is worth, and how often that was asked."""

    calls = 0

    def __call__(self, model: nn.Module) -> float:
        self.calls += 1
        return worth(model)


def test_rows_that_are_there_are_not_made_again_and_more_may_be_asked(tmp_path: Path) -> None:
    counted = Counted()
    first = quick(tmp_path, evaluate=counted)
    made = counted.calls
    assert rows(quick(tmp_path, evaluate=counted)) == rows(first)
    assert counted.calls == made > 0
    more = {"half": Budget(params="50%"), "third": Budget(params="33%")}
    wider = quick(tmp_path, evaluate=counted, budgets=more, seeds=range(2))
    assert len(wider.rows) == 2 * (2 * 2 + 1)
    again = rows(quick(None, evaluate=worth, budgets=more, seeds=range(2)))
    assert rows(wider) == again


@pytest.mark.slow
def test_no_row_hangs_on_those_before_it() -> None:
    """Though the loader has a generator of its own, which a run leaves elsewhere."""

    def weights(model: nn.Module) -> float:
        return float(sum(p.detach().double().abs().sum() for p in model.parameters()))

    options: dict[str, Any] = {"budgets": [Budget(params="50%")], "evaluate": weights}
    options |= {"methods": [[Prune("uniform"), FineTune(epochs=1, lr=1e-2)]]}

    def last(seeds: list[int]) -> dict[str, Any]:
        data = loader(64, batch=8, generator=torch.Generator().manual_seed(0))
        return rows(sweep(tiny(), data, **options, seeds=seeds))[-1]

    assert last([0]) == last([1, 0])
    assert last([0])["value"] > 0


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    quick(tmp_path)
    with pytest.raises(ResumeError, match=r"holds a sweep with another network and evaluate"):
        quick(tmp_path, model=tiny(1), evaluate=None)
    with pytest.raises(ResumeError, match=r"rows of another budget 'half', params <= 50% instead"):
        quick(tmp_path, budgets={"half": Budget(params="40%")})
    with pytest.raises(ResumeError, match=r"rows of another method 'narrow'.*another name"):
        quick(tmp_path, methods={"narrow": Prune()})
    with claimed(tmp_path), pytest.raises(ResumeError, match="sweep that is going on"):
        quick(tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model": 3}, "this is|3 is"),
        ({"evaluate": 3}, "evaluate"),
        ({"evaluate": lambda: 0}, "does not take one argument"),
        ({"model": lambda: 0}, r"sweep\(model=<lambda>\) must be f\(seed\) -> its network"),
        ({"loss": nn.MSELoss}, "loss is the class MSELoss: make one"),
        ({"lr": -1}, r"sweep\(lr=-1\): must be"),
        ({"methods": [None], "epochs": 0}, r"sweep\(epochs=0\): must be"),
        ({"then": [FineTune(epochs=1)]}, "FineTune trains on data and sweep was given none"),
        ({"then": Prune()}, r"sweep\(then=a Prune\): must be a list of phases"),
        ({"folder": ""}, "names no directory"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        quick(**changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"data": [(torch.zeros(4, 3), torch.zeros(4).long())]}, "does not run on the first batch"),
        ({"data": [(torch.zeros(4, 1, 8, 8), torch.zeros(4))]}, "targets are torch.float32"),
        ({"optimizer": 3}, "optimizer"),
        ({"loss": lambda model, batch: None}, "must return a tensor with one number"),  # noqa: ARG005
    ],
)
def test_what_does_not_fit_the_network_is_refused_before_any_method(
    changes: dict[str, Any], match: str
) -> None:
    """It is no matter of a method, and would end every row."""
    asked: list[object] = []
    options: dict[str, Any] = {"data": loader(16), "epochs": 1, "evaluate": asked.append} | changes
    with pytest.raises(ValueError, match=match):
        sweep(tiny(), options.pop("data"), [Budget(params="50%")], [Prune()], **options)
    assert not asked


def test_a_line_a_row_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="compressor"):
        quick(seeds=[0])
    said = [one.getMessage() for one in caplog.records if one.name == "compressor.sweep"]
    assert said[0] == "5 rows to make, one after the other; several at once with ray='local'"
    assert said[1].startswith("[1/5] dense, seed 0: 1492, 1,492 parameters, 31,808 MACs, ")
    assert "about" in said[1]
    assert "[4/5] Prune at nothing, seed 0: refused, params <= 14 cannot be reached" in said[4]
    assert len(said) == 6
    assert "left" not in said[-1].split(":")[-1]


def test_without_ray_this_process_makes_the_rows_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    found = quick(ray="local")
    assert rows(found) == rows(quick())
    said = caplog.text
    assert "pip install 'compressor-nn[sweep]'" in said
    assert "So 5 rows to make, one after the other in this process." in said
    with pytest.raises(ImportError, match="need Ray"):
        quick(ray="127.0.0.1:1")


@pytest.mark.slow
def test_killed_again_and_again_a_sweep_ends_in_the_same_rows(tmp_path: Path) -> None:
    """Kills come in the middle of runs: what is made of checkpoints is equal bit for bit."""
    whole, deaths, code = rows(call(None)), 0, None
    environment = {**os.environ, "STEPS": "14", "PYTHONPATH": str(ROOT)}
    code_of = "import sys; from pathlib import Path; from tests.helpers import swept; "
    code_of += "swept.call(Path(sys.argv[1]))"  # not as a script, whose functions have other names
    command = [sys.executable, "-c", code_of, str(tmp_path)]
    while code != 0:
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True)  # noqa: S603
        code = done.returncode
        deaths += code == -9
        assert code in {0, -9}, done.stderr
        assert deaths < 9
    assert deaths > 1
    assert rows(call(tmp_path)) == whole
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_on_ray_the_rows_are_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    options = {"seeds": [0], "evaluate": loader(64, seed=4)}
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes
    try:
        assert rows(call(tmp_path, ray="local", **options)) == rows(call(None, **options))
    finally:
        torch.set_num_threads(before)
    assert len((tmp_path / "sweep.jsonl").read_text().splitlines()) == 7
