"""What becomes of mistakes in a sweep: a row that failed or was refused, or the end of the call."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compressor import Budget, FineTune, Prune, importance, sweep
from compressor.allocation import PowerMean
from compressor.graph.graph import Graph
from tests.helpers.swept import quick
from tests.helpers.tiny import loader, tiny


def wrong(graph: Graph, tensors: object, evidence: object) -> list[float]:
    del graph, tensors, evidence
    return [1.0] * 3


def raises(*_: object) -> Any:
    raise KeyError("mine")


class Falls(PowerMean):
    """An objective that is none."""

    def gains(self, scores: Any, levels: Any, writers: int) -> Any:
        return -super().gains(scores, levels, writers)


class Breaks(Prune):
    """A solver with a mistake in it."""

    def remove(self, training: Any, remaining: int) -> None:
        del training, remaining
        raise IndexError("mine")


FAILING = {
    "importance": (
        Prune(importance=wrong),
        r"importance wrong must be f\(graph.*shape \(3,\)",
    ),
    "importance raises": (Prune(importance=raises), r"KeyError: 'mine' \(test_fail.*in raises\)"),
    "objective": (Prune(objective=Falls(1)), "ValueError: the objective Falls: gains"),
    "method": (Prune(method=raises), "KeyError: 'mine'"),
    "no solution": (Prune(method=lambda *_: None), "the method <lambda> must be f.*it gave None"),
    "solver": (Breaks(), r"IndexError: mine \(test_failures.py, line \d+, in remove\)"),
    "pruner": (raises, "KeyError: 'mine'"),
}
"""Methods with a mistake, and what is said of each."""


def test_a_mistake_in_a_method_ends_its_row_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    methods = {name: method for name, (method, _) in FAILING.items()} | {"ok": Prune()}
    with caplog.at_level(logging.INFO, logger="compressor"):
        found = quick(methods=methods, budgets={"half": Budget(params="50%")}, seeds=2)
    for row in found.rows:
        if row["method"] in FAILING:
            assert row["state"] == "failed"
            assert re.search(FAILING[row["method"]][1], row["why"])
            assert row["cap_params"] is not None, "what was known before stays"
        else:
            assert row["state"] == "done"
    assert (
        "importance at half, seed 1: failed, ValueError: the importance wrong must" in caplog.text
    )
    assert repr(found) == f"<Sweep of 18 rows, {2 * len(FAILING)} refused>"


def test_a_loss_that_fails_on_small_networks_is_a_row() -> None:
    def fails(model: nn.Module, batch: Any) -> torch.Tensor:
        if sum(p.numel() for p in model.parameters()) < 1000:
            raise ZeroDivisionError
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    budgets = {"large": Budget(params="100%"), "small": Budget(params="50%")}
    then = [FineTune(epochs=1, lr=1e-3)]
    found = sweep(tiny(), loader(16), budgets, [Prune("uniform")], loss=fails, then=then)
    assert [row["state"] for row in found.rows] == ["done", "done", "failed"]
    assert found.rows[2]["why"].startswith("ZeroDivisionError (test_failures.py, line ")


def test_what_is_worth_nothing_for_a_mistake_is_a_row_but_of_the_network_given() -> None:
    def judged(model: nn.Module) -> float:
        if sum(p.numel() for p in model.parameters()) < most:
            raise KeyError("mine")
        return 1.0

    most = 1000
    states = [row["state"] for row in quick(evaluate=judged, methods=[Prune()]).rows]
    assert states == ["done", "failed", "refused"]
    most = 10**6
    with pytest.raises(KeyError, match="mine") as caught:
        quick(evaluate=judged)
    assert caught.value.__notes__ == ["compressor.sweep ended at the row of dense, seed 0"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), MemoryError(), torch.OutOfMemoryError(), SystemExit()]
)
@pytest.mark.parametrize("where", ["importance", "pruner"])
def test_want_of_memory_and_an_interruption_are_no_rows(error: BaseException, where: str) -> None:
    def ends(*_: object) -> Any:
        raise error

    method = ends if where == "pruner" else Prune(importance=ends)
    with pytest.raises(type(error)):
        quick(methods={"ends": method, "ok": Prune()})


class Code:
    """Code that is put right between two calls."""

    right = False


def test_what_failed_is_made_again_when_it_was_put_right(tmp_path: Path) -> None:
    code = Code()

    def mine(graph: Graph, tensors: Any, evidence: Any) -> Any:
        return importance.l1(graph, tensors, evidence) if code.right else None

    def call() -> list[str]:
        found = quick(tmp_path, methods={"mine": Prune(importance=mine)})
        return [row["state"] for row in found.rows]

    assert call() == ["done", "failed", "refused"]
    assert call() == ["done", "failed", "refused"]
    code.right = True
    assert call() == ["done", "done", "refused"]
    code.right = False
    assert call() == ["done", "done", "refused"], "what was made stays"


def test_what_cannot_be_trained_is_a_row() -> None:
    """The method before it, and the one behind, are not lost."""

    def good(model: nn.Module, budget: Budget) -> nn.Module:
        del model, budget
        return tiny(width=6)

    def frozen(model: nn.Module, budget: Budget) -> nn.Module:
        return good(model, budget).requires_grad_(requires_grad=False)

    def other(model: nn.Module, budget: Budget) -> nn.Module:
        return nn.Sequential(good(model, budget), nn.Linear(4, 2))

    methods = {"frozen": frozen, "other": other, "good": good}
    found = sweep(tiny(), loader(16), [Budget(params="100%")], methods, epochs=1, lr=1e-2)
    states = {row["method"]: row["state"] for row in found.rows}
    why = {row["method"]: row["why"] for row in found.rows}
    assert why["frozen"].startswith("what it returned cannot be trained: FineTune trains and no")
    assert why["other"].startswith("what it returned cannot be trained: ")
    assert states == {"dense": "done", "frozen": "refused", "other": "refused", "good": "done"}
