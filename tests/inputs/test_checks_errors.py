"""What `fit` says of data, labels and losses that it cannot use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from compressor import (
    Budget,
    Distill,
    FineTune,
    Prune,
    Recalibrate,
    fit,
)
from compressor.errors import TrainingError
from compressor.importance import frobenius
from compressor.inputs.batches import Batch, Batches
from compressor.inputs.losses import cross_entropy
from tests.helpers.tiny import CLASSES, Counting, loader, refuses, scenes, tiny

CAPS = Budget(params=700, macs="30k")
QUICK = (Prune(), Recalibrate(), FineTune(epochs=2))


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


@pytest.mark.parametrize("batch", [(torch.zeros(2, 1, 8, 8),) * 3, {"x": 1}])
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


def test_distilling_what_are_no_logits() -> None:
    def apart(model: nn.Module, _: Batch) -> Tensor:
        return sum(p.square().sum() for p in model.parameters())

    schedule = [Prune(importance=frobenius), FineTune(epochs=1, distill=Distill())]
    with refuses(r"never called the model: .* leave distill out"):
        fit(tiny(), [tuple(scenes(8).tensors)], budget=CAPS, loss=apart, schedule=schedule)


def test_a_loss_that_is_not_finite() -> None:
    """One that diverges while training: at the first steps it is finite."""
    steps: list[int] = []

    def diverging(model: nn.Module, batch: Batch) -> Tensor:
        if model.training:
            steps.append(1)
        worth = torch.nan if len(steps) > 1 and model.training else 1.0
        return cross_entropy(model, batch) * worth

    data = [tuple(scenes(8).tensors)] * 2
    schedule = [Prune(importance=frobenius, method="uniform"), FineTune(epochs=1)]
    with refuses(r"the loss is nan at FineTune epoch 1, step 2: .* lower the", TrainingError):
        fit(tiny(), data, budget=CAPS, schedule=schedule, loss=diverging)


def test_a_batch_that_is_not_finite() -> None:
    clips, labels = scenes(8).tensors
    broken = torch.full_like(clips, torch.nan)
    schedule = [Prune(importance=frobenius), FineTune(epochs=1)]
    with refuses(r"not finite on batch 2 of the data.* the batch itself", TrainingError):
        fit(tiny(), [(clips, labels), (broken, labels)], budget=CAPS, schedule=schedule)


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


@pytest.mark.parametrize("value", [None, "0.9", torch.zeros(2)])
def test_a_val_that_gives_no_number(value: object) -> None:
    with refuses(r"val\(model\) must return one number, higher is better, and it", TrainingError):
        fit(tiny(), loader(), budget=CAPS, val=lambda _: value,
            schedule=[Prune(importance=frobenius), FineTune(epochs=1)])  # fmt: skip


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
    with refuses("data is an int and yields no batches: pass a DataLoader or a list"):
        fit(tiny(), 3, budget=CAPS)
