"""What `fit` says when something is wrong, and that it says so before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from compressor import (
    Budget,
    Distill,
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
from compressor.batches import Batch, Batches
from compressor.errors import BudgetError, TrainingError
from compressor.importance import frobenius
from compressor.phases import Phase
from tests.tiny import CLASSES, Tiny, loader, scenes, tiny

CAPS = Budget(params=700, macs="30k")
QUICK = (Prune(), Recalibrate(), FineTune(epochs=2))


def refuses(match: str, error: type[Exception] = ValueError) -> object:
    return pytest.raises(error, match=match)


def test_no_budget() -> None:
    with refuses(r"fit needs a budget and got None: pass budget=Budget\(", BudgetError):
        fit(tiny())


def test_an_infeasible_budget_is_found_before_any_training() -> None:
    schedule = [FineTune(epochs=1), Prune(steps=2, epochs=1)]
    data = Counting(scenes(8))
    with refuses("params", BudgetError):
        fit(tiny(), data, budget=Budget(params=20), schedule=schedule)
    assert data.passes == 1  # the first batch was looked at


class Counting:
    """A loader of one batch that counts how often it is read."""

    def __init__(self, data: TensorDataset) -> None:
        self.batch = tuple(data.tensors)
        self.passes = 0

    def __iter__(self) -> Iterator[Batch]:
        self.passes += 1
        yield self.batch


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


@pytest.mark.parametrize(
    "data", [[], DataLoader(scenes(8), batch_size=16, drop_last=True)], ids=["list", "loader"]
)
def test_an_empty_loader(data: Iterable[Batch]) -> None:
    with refuses(r"data is empty: the \w+ yields no batch"):
        fit(tiny(), data, budget=CAPS)


def test_a_loader_that_can_be_read_once() -> None:
    with refuses("can be read only once"):
        fit(tiny(), iter([tuple(scenes(8).tensors)]), budget=CAPS)


@pytest.mark.parametrize("label", [CLASSES, -1])
def test_labels_out_of_range_in_the_first_batch(label: int) -> None:
    clips, labels = scenes(8).tensors
    labels[3] = label
    with refuses(rf"label {label} is out of range: 1 of 8 labels .* not in 0 \.\.\. 3"):
        fit(tiny(), [(clips, labels)], budget=CAPS)


def test_ignored_labels_and_probabilities_are_fine() -> None:
    clips, labels = scenes(8).tensors
    soft = functional.one_hot(labels, CLASSES).float()
    labels[0] = -100
    schedule = [Prune(), FineTune(epochs=1)]
    fit(tiny(), [(clips, labels)], budget=CAPS, schedule=schedule)
    fit(tiny(), [(clips, soft)], budget=CAPS, schedule=schedule, val=[(clips, soft)])


def test_labels_out_of_range_later_on() -> None:
    clips, labels = scenes(8).tensors
    bad = torch.full_like(labels, 9)
    with refuses("label 9 is out of range: 8 of 8", TrainingError):
        fit(tiny(), [(clips, labels), (clips, bad)], budget=CAPS,
            schedule=[Prune(importance=frobenius), FineTune(epochs=1)])  # fmt: skip


def test_targets_of_the_wrong_kind() -> None:
    clips, labels = scenes(8).tensors
    with refuses(r"targets are torch.int32 \(8,\); .* needs torch.int64 \(8,\)"):
        fit(tiny(), [(clips, labels.int())], budget=CAPS)
    with refuses(r"targets are torch.int64 \(8, 1\)"):
        fit(tiny(), [(clips, labels[:, None])], budget=CAPS)


def test_batches_in_another_data_type() -> None:
    clips, labels = scenes(8).tensors
    with refuses("the batches are torch.float64 and the model is torch.float32: convert"):
        fit(tiny(), [(clips.double(), labels)], budget=CAPS)


def test_batches_on_another_device() -> None:
    clips, labels = scenes(8).tensors
    with refuses("the batches are on meta and the model is on cpu: pass fabric="):
        fit(tiny(), [(clips.to("meta"), labels)], budget=CAPS)


def test_batches_of_another_shape() -> None:
    clips, labels = scenes(8).tensors
    with refuses(r"does not run on the first batch, inputs \(8, 2, 8, 8\) torch.float32"):
        fit(tiny(), [(clips.expand(-1, 2, -1, -1), labels)], budget=CAPS)


@pytest.mark.parametrize("batch", [torch.zeros(2, 1, 8, 8), (torch.zeros(2, 1, 8, 8),), {"x": 1}])
def test_batches_that_are_no_pairs(batch: Batch) -> None:
    with refuses(r"a batch must be a pair \(inputs, targets\) of tensors, data yields a "):
        fit(tiny(), [batch], budget=CAPS)


def test_a_loss_that_fails_or_is_no_number() -> None:
    data = [tuple(scenes(8).tensors)]

    def vector(model: nn.Module, batch: Batch) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    with refuses(r"must return a tensor with one number, it returns a tensor of shape \(8,\)"):
        fit(tiny(), data, budget=CAPS, loss=vector)
    with refuses("fails on the first batch"):
        fit(tiny(), data, budget=CAPS, loss=lambda model, batch: model(batch["x"]).mean())


def test_selection_without_validation() -> None:
    data = Counting(scenes(8))
    with refuses(r"FineTune\(select=True\) returns the epoch with the best val and fit was given"):
        fit(tiny(), data, budget=CAPS, schedule=[Prune(), FineTune(epochs=1, select=True)])
    assert not data.passes


def test_distilling_what_are_no_logits() -> None:
    def apart(model: nn.Module, _: Batch) -> Tensor:
        return sum(p.square().sum() for p in model.parameters())

    schedule = [Prune(importance=frobenius), FineTune(epochs=1, distill=Distill())]
    with refuses(r"never called the model: .* leave distill out"):
        fit(tiny(), [tuple(scenes(8).tensors)], budget=CAPS, loss=apart, schedule=schedule)


def test_a_loss_that_is_not_finite() -> None:
    clips, labels = scenes(8).tensors
    broken = torch.full_like(clips, torch.nan)
    data = [(clips, labels), (broken, labels)]
    schedule = [Prune(importance=frobenius), FineTune(epochs=1)]
    with refuses(r"the loss is nan at FineTune epoch 1, step 2\. .* lower the", TrainingError):
        fit(tiny(), data, budget=CAPS, schedule=schedule)


def test_a_loader_that_runs_dry() -> None:
    class Once:
        def __init__(self) -> None:
            self.left = [[tuple(scenes(8).tensors)]]

        def __iter__(self) -> Iterator[Batch]:
            return iter(self.left.pop() if self.left else [])

    schedule = [Prune(importance=frobenius), FineTune(epochs=1)]
    with refuses("got no batch: the loader ran empty", TrainingError):
        fit(tiny(), Once(), budget=CAPS, schedule=schedule)


def test_an_empty_validation_loader() -> None:
    data = Counting(scenes(8))
    with refuses("val is empty: the list yields no batch"):
        fit(tiny(), data, budget=CAPS, schedule=QUICK, val=[])
    assert data.passes == 1


def test_batches_know_their_length_where_there_is_one() -> None:
    assert Batches(loader(96, batch=32)).length == 3
    assert Batches(Counting(scenes(4))).length is None
    schedule = [Prune(), FineTune(epochs=2)]
    assert fit(tiny(), Counting(scenes(8)), budget=CAPS, schedule=schedule).report.log


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
        (partial(Prune, importance="fisher"), r"importance='fisher'\): must be a function"),
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


@pytest.mark.parametrize("value", [None, "0.9", torch.zeros(2)])
def test_a_val_that_gives_no_number(value: object) -> None:
    with refuses(r"val\(model\) must return one number, higher is better, and it", TrainingError):
        fit(tiny(), loader(), budget=CAPS, val=lambda _: value,
            schedule=[Prune(importance=frobenius), FineTune(epochs=1)])  # fmt: skip


def test_a_fabric_that_is_none() -> None:
    with refuses(r"fabric=3 is no Fabric: pass lightning_fabric\.Fabric\(\.\.\.\), or None"):
        fit(tiny(), budget=CAPS, fabric=3)


def test_a_loss_without_a_gradient() -> None:
    def error_rate(model: nn.Module, batch: Batch) -> Tensor:
        return (model(batch[0]).argmax(1) != batch[1]).float().mean()

    with refuses(r"has no gradient: it does not depend on the model's parameters, or detach"):
        fit(tiny(), loader(), budget=CAPS, loss=error_rate)
    weights_alone = [Prune(importance=frobenius), Recalibrate()]
    assert fit(tiny(), loader(), budget=CAPS, loss=error_rate, schedule=weights_alone).model


def test_a_loss_that_is_not_finite_while_measuring_importance() -> None:
    clips, labels = scenes(8).tensors
    data = [(clips, labels), (torch.full_like(clips, torch.nan), labels)]
    with refuses("the loss is nan on batch 2 while measuring importance", TrainingError):
        fit(tiny(), data, budget=CAPS)


def test_labels_out_of_range_while_measuring_importance() -> None:
    clips, labels = scenes(8).tensors
    data = [(clips, labels), (clips, labels + 9)]
    with refuses("label .* out of range: 8 of 8 labels in batch 2 of data", TrainingError):
        fit(tiny(), data, budget=CAPS)


def test_all_labels_ignored() -> None:
    clips, labels = scenes(8).tensors
    with refuses(r"all 8 labels of the first batch are -100, which cross entropy leaves out"):
        fit(tiny(), [(clips, torch.full_like(labels, -100))], budget=CAPS)


def test_nothing_to_train() -> None:
    model = tiny().requires_grad_(requires_grad=False)
    data = Counting(scenes(8))
    with refuses("FineTune trains and no parameter of the Tiny requires a gradient"):
        fit(model, data, budget=CAPS)
    assert not data.passes
    assert fit(model, data, budget=CAPS, schedule=[Prune(), Recalibrate()]).model


def test_validation_data_that_do_not_fit() -> None:
    clips, labels = scenes(8).tensors
    data = Counting(scenes(8))
    with refuses(r"label \d+ is out of range: 8 of 8 labels in the first batch of val"):
        fit(tiny(), data, budget=CAPS, val=[(clips, labels + 7)])
    with refuses(r"does not run on the first batch of val, inputs \(8, 2, 8, 8\)"):
        fit(tiny(), data, budget=CAPS, val=[(clips.expand(-1, 2, -1, -1), labels)])
    with refuses(r"must be a pair .* val yields .* pass val as a function of the model"):
        fit(tiny(), data, budget=CAPS, val=[clips])
    assert data.passes == 3  # the first batch of each call


def test_data_that_hold_no_batches() -> None:
    with refuses("data is a int and yields no batches: pass a DataLoader or a list"):
        fit(tiny(), 3, budget=CAPS)


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
