"""What `fit` says when something is wrong, and that it says so before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from compressor import Budget, FineTune, Prune, Recalibrate, fit
from compressor.batches import Batch, Batches
from compressor.errors import BudgetError, TrainingError
from compressor.importance import frobenius
from compressor.phases import Phase
from tests.tiny import CLASSES, loader, scenes, tiny

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

    schedule = [Prune(importance=frobenius), FineTune(epochs=1)]
    with refuses(r"never called the model: .* FineTune\(distill=None\)"):
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
