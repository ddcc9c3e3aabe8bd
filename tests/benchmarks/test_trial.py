"""Trials of the comparison of breadth: a few networks, and tools that do wrong."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from torch import nn

from benchmarks.breadth import __main__ as breadth
from benchmarks.breadth import trial
from benchmarks.breadth.kinds import KINDS, NETWORKS
from benchmarks.breadth.page import by_kind, kinds, tables
from benchmarks.breadth.tools.common import HeldError, RefusedError, Shrunk, counted
from benchmarks.breadth.tools.outputs import output_layers
from benchmarks.breadth.trial import TOOLS, Check, Outcome, attempt, halved, planted
from benchmarks.common.records import Records, add, read

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "benchmarks" / "breadth" / "breadth.jsonl"


def test_there_are_many_networks_with_names_of_their_own() -> None:
    assert len(NETWORKS) == sum(map(len, KINDS.values())) >= 90


@pytest.mark.parametrize("name", ["VGG", "ResNet basic"])
def test_ours_does_them_and_leaves_the_function(name: str) -> None:
    record = halved(NETWORKS[name], "ours")
    assert record["outcome"] == Outcome.DONE
    assert 0.9 < record["params used"] <= 1.0
    assert planted(NETWORKS[name], "ours") == Check.EQUAL


@pytest.mark.slow
def test_a_trial_has_a_process_of_its_own_that_ends_at_the_limit() -> None:
    assert attempt("VGG", "ours")["outcome"] == Outcome.DONE
    late = attempt("VGG", "torch-kirigami", limit=1)
    assert late["outcome"] == Outcome.SLOW
    assert late["params"] == counted(*trial.made(NETWORKS["VGG"]))[0]


def cut(model: nn.Module, rows: slice) -> nn.Module:
    """LeNet with some channels of its first fully connected layer taken away."""
    model.fc1.weight.data = model.fc1.weight.data[rows]
    model.fc1.bias.data = model.fc1.bias.data[rows]
    model.fc2.weight.data = model.fc2.weight.data[:, rows]
    return model


def test_a_tool_that_takes_away_others_than_the_dead_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def few(model: nn.Module, *_: object) -> Shrunk:
        return Shrunk(cut(model, slice(4, None)))

    monkeypatch.setitem(TOOLS, "few", few)
    assert planted(NETWORKS["LeNet"], "few") == Check.DIFFERS
    assert halved(NETWORKS["LeNet"], "few")["outcome"] == Outcome.WRONG

    def many(model: nn.Module, *_: object) -> Shrunk:
        return Shrunk(cut(model, slice(40, None)))

    monkeypatch.setitem(TOOLS, "many", many)
    assert planted(NETWORKS["LeNet"], "many") == Check.ELSEWHERE


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (HeldError("too wide", (1000, 2000)), Outcome.HELD),
        (RefusedError("not mine"), Outcome.REFUSED),
        (IndexError("7"), Outcome.CRASHED),
    ],
)
def test_what_a_tool_raises_is_its_outcome(
    monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: Outcome
) -> None:
    def failing(*_: object) -> Shrunk:
        raise error

    monkeypatch.setitem(TOOLS, "failing", failing)
    record = halved(NETWORKS["LeNet"], "failing")
    assert record["outcome"] == outcome
    assert str(error) in record["reason"]
    assert ("params used" in record) == (outcome == Outcome.HELD)


def test_output_layers_are_those_nearest_to_the_outputs() -> None:
    model, inputs = trial.made(NETWORKS["several tasks"])
    found = output_layers(copy.deepcopy(model).train(), inputs)
    assert {getattr(m, "out_features", 0) or m.out_channels for m in found} == {1, 2}
    assert len(found) == 3


def test_the_pages_count_what_the_records_say() -> None:
    found = {"params": 10, "macs": 20, "seconds": 1.0, "reason": "a | b", "check": "-"}
    done = {"params used": 0.99, "macs used": 1.0, "outcome": "done"}
    rows = (
        {"network": "VGG", "tool": "ours", **found, **done},
        {"network": "LeNet", "tool": "ours", **found, "outcome": "held"},
    )
    records = Records(rows)
    assert "| plain convolutional | 5 | 1 done, 1 held |" in by_kind(records)
    assert "| LeNet | held | a \\| b |" in tables(records)
    assert "| plain convolutional | VGG | done |" in kinds(records)


def test_committed_records_are_of_networks_and_tools_that_are_there() -> None:
    records = read(RECORDS)
    assert {record["network"] for record in records.found} <= set(NETWORKS)
    assert {record["tool"] for record in records.found} <= set(TOOLS)


def test_forgotten_trials_alone_go(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    for run in breadth.runs(("ours", "Torch-Pruning"), ("VGG", "LeNet")):
        add(path, run.key, {"outcome": "done"})
    breadth.forget(path, breadth.runs(("ours",), ("VGG",)))
    left = [(r["network"], r["tool"]) for r in read(path).found]
    assert left == [("LeNet", "Torch-Pruning"), ("LeNet", "ours"), ("VGG", "Torch-Pruning")]
