"""What `fit` says when something is wrong, and that it says so before any work."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from compressor import (
    Budget,
    FineTune,
    Prune,
    Recalibrate,
    Session,
    allocate,
    fit,
    measure,
    shrink,
    trace,
)
from compressor.allocation import LogWidth, PowerMean
from compressor.errors import BudgetError
from compressor.phases import Phase
from tests.helpers.tiny import Counting, Tiny, loader, refuses, scenes, tiny

CAPS = Budget(params=700, macs="30k")
QUICK = (Prune(), Recalibrate(), FineTune(epochs=2))


def test_no_budget() -> None:
    with refuses(r"fit needs a budget and got None: pass budget=Budget\(", BudgetError):
        fit(tiny())


def test_an_infeasible_budget_is_found_before_any_training() -> None:
    schedule = [FineTune(epochs=1), Prune(steps=2, epochs=1)]
    data = Counting(scenes(8))
    with refuses("params", BudgetError):
        fit(tiny(), data, budget=Budget(params=20), schedule=schedule)
    assert data.passes == 1  # the first batch was looked at


def test_a_schedule_that_removes_nothing() -> None:
    with refuses(r"no phase of the schedule removes anything: put Prune\(\)", BudgetError):
        fit(tiny(), loader(), budget=CAPS, schedule=[FineTune(epochs=1)])


def test_no_example() -> None:
    model = tiny()
    del model.example_input_array
    with refuses("example"):
        fit(model, budget=CAPS)


@pytest.mark.parametrize("schedule", [[Recalibrate()], [FineTune()], [Prune(steps=2, epochs=1)]])
def test_phases_that_need_data(schedule: list[Phase]) -> None:
    with refuses("data(,)? and fit was given none: pass a loader"):
        fit(tiny(), budget=CAPS, schedule=schedule)


def test_selection_without_validation() -> None:
    data = Counting(scenes(8))
    with refuses(r"FineTune\(select=True\) returns the epoch with the best val and fit was given"):
        fit(tiny(), data, budget=CAPS, schedule=[Prune(), FineTune(epochs=1, select=True)])
    assert not data.passes


def test_no_model() -> None:
    with refuses(r"a model is needed, and Tiny is a class: build one first, Tiny\("):
        fit(Tiny, budget=CAPS)
    with refuses(r"a model is needed, an instance of torch.nn.Module, and 'net.pt' is a str"):
        fit("net.pt", budget=CAPS)


def test_a_model_without_values() -> None:
    with refuses(r"tensors of the Tiny are on the meta device .*'stem.weight'.*to_empty"):
        fit(tiny().to("meta"), budget=CAPS)


@pytest.mark.parametrize("budget", [{"params": 700}, 700, "128k"])
def test_a_budget_that_is_none(budget: object) -> None:
    with refuses(r"needs a budget and got .*: pass budget=Budget\(", BudgetError):
        fit(tiny(), budget=budget)
    with refuses(r"allocate needs a budget and got", BudgetError):
        allocate(trace(tiny()), np.ones(24), budget)
    with refuses(r"Session needs a budget and got", BudgetError):
        Session(tiny(), budget=budget)


@pytest.mark.parametrize(
    ("schedule", "match"),
    [
        (Prune(), r"is a single phase and must be a list of phases: pass schedule=\[Prune\("),
        ("prune", r"schedule='prune', a str, and must be a list of phases"),
        ([Prune], r"schedule\[0\] is the class Prune: make one, Prune\(\)"),
        ([Prune(), 3], r"schedule\[1\] is 3, no phase"),
    ],
)
def test_a_schedule_that_is_none(schedule: object, match: str) -> None:
    with refuses(match):
        fit(tiny(), loader(), budget=CAPS, schedule=schedule)


@pytest.mark.parametrize(
    ("phase", "match"),
    [
        (partial(Prune, steps=1.5), r"Prune\(steps=1.5\): must be a whole number, at least 1"),
        (partial(Prune, steps="3"), r"Prune\(steps='3'\): must be a whole number"),
        (partial(Prune, floor=0), r"Prune\(floor=0\): must be a whole number, at least 1"),
        (partial(Prune, steps=True), r"Prune\(steps=True\): must be a whole number"),
        (partial(Prune, importance="fisher"), r"importance='fisher'\): must be f\(graph"),
        (partial(Prune, objective="log"), r"objective='log'\): must be an objective such as"),
        (partial(Prune, objective=LogWidth), r"must be an objective such as"),
        (partial(Prune, method="best"), r"method='best'\): no such method; there are 'dual'"),
        (partial(Prune, distill=True), r"Prune\(distill=True\): must be Distill\(\), or None"),
        (partial(Prune, lr=-1.0), r"Prune\(lr=-1.0\): must be a number, at least 0"),
        (partial(FineTune, lr=float("inf")), r"FineTune\(lr=inf\): must be a number"),
        (partial(FineTune, decay="cosine"), r"decay='cosine'\): must be a function"),
        (partial(PowerMean, 0), r"PowerMean\(power=0\): the power must be above 0"),
        (partial(Session, tiny(), budget=CAPS, every=0), r"Session\(every=0\): must be a whole"),
        (partial(Session, tiny(), budget=CAPS, prune="uniform"), r"prune='uniform'\): must be Pr"),
    ],
)
def test_settings_of_the_wrong_kind(phase: partial[object], match: str) -> None:
    with refuses(match):
        phase()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "0", True])
def test_seeds_out_of_range(seed: object) -> None:
    with refuses(r"fit\(seed=.*\): must be a whole number from 0 to 2\*\*64 - 1"):
        fit(tiny(), budget=CAPS, seed=seed)


def test_keep_as_one_string() -> None:
    with refuses(r"keep='stem' is a single string: pass a list, keep=\['stem'\]"):
        fit(tiny(), budget=CAPS, keep="stem")
    with refuses(r"keep= holds 3, a int: pass names of layers"):
        fit(tiny(), budget=CAPS, keep=[3])


def test_a_loss_and_an_optimiser_that_cannot_be_called() -> None:
    with refuses(r"loss='mse' is a str: pass a function, called as loss\(model, batch\)"):
        fit(tiny(), loader(), budget=CAPS, loss="mse")
    model = tiny()
    with refuses(r"optimizer is a SGD, and fit makes a fresh optimiser for every phase"):
        fit(model, loader(), budget=CAPS, optimizer=torch.optim.SGD(model.parameters()))


def test_a_fabric_that_is_none() -> None:
    with refuses(r"fabric=3 is no Fabric: pass lightning_fabric\.Fabric\(\.\.\.\), or None"):
        fit(tiny(), budget=CAPS, fabric=3)


def test_nothing_to_train() -> None:
    model = tiny().requires_grad_(requires_grad=False)
    data = Counting(scenes(8))
    with refuses("FineTune trains and no parameter of the Tiny requires a gradient"):
        fit(model, data, budget=CAPS)
    assert data.passes == 1, "whether there are labels shows on the first batch"
    assert fit(model, data, budget=CAPS, schedule=[Prune(), Recalibrate()]).model


def test_a_checkpoint_that_cannot_be_a_directory(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("")
    with refuses("'.*taken' is a file, and a checkpoint is a directory"):
        fit(tiny(), budget=CAPS, checkpoint=file)
    with refuses("lies below '.*taken', which is a file"):
        fit(tiny(), budget=CAPS, checkpoint=file / "run")
    with refuses("checkpoint='' names no directory"):
        fit(tiny(), budget=CAPS, checkpoint="")
    data = Counting(scenes(8))
    with refuses(r"checkpoint='.*xxx' cannot be written to \(.+\): pass another path, or None"):
        fit(tiny(), data, budget=CAPS, checkpoint=tmp_path / ("x" * 300))
    assert not data.passes


def test_a_checkpoint_directory_that_takes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with refuses(r"cannot be written to \(No space left on device\)"):
        fit(tiny(), budget=CAPS, checkpoint=tmp_path)


def test_what_is_checked_leaves_the_model_as_it_was() -> None:
    class Counts(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    model, state = Counts(), torch.get_rng_state()
    fit(model, loader(), budget=CAPS, schedule=[Prune(), FineTune(epochs=1)], val=loader(32))
    assert model.calls == 0
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_arguments_in_the_wrong_place() -> None:
    model = tiny()
    with refuses("a model is needed, an instance of torch.nn.Module, and"):
        measure(model.example_input_array, model)
    with refuses(r"shrink needs a structure and got None: pass allocate\(...\).structure"):
        shrink(model, trace(model), None)
