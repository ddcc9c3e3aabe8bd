"""NaN and infinity are found where they arise, in the batch and the layer, and never returned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import (
    Budget,
    Distill,
    FilterPruning,
    FineTune,
    FrequencyMask,
    Half,
    Int8,
    Joint,
    Prune,
    Recalibrate,
    Result,
    Session,
    Train,
    Unstructured,
    fit,
)
from compressor.errors import TrainingError, VerificationError
from compressor.importance import frobenius
from compressor.inputs.batches import Batch
from compressor.inputs.losses import cross_entropy
from compressor.phases import Phase
from compressor.run.calibration import calibration_loss
from compressor.run.lesson import Lesson
from tests.helpers.tiny import Tiny, equal, scenes, tiny

CAPS = Budget(params=700)
FROZEN = Prune(importance=frobenius, method="dual", repair=False, fold=False)
"""Widths chosen without any data."""


def batches(bad: int | None = None, value: float = math.nan, count: int = 6) -> list[Batch]:
    """Of 8 clips each; one number of the batch `bad`, counted from 1, is another."""
    clips, labels = scenes(8 * count).tensors
    clips = clips.clone()
    if bad is not None:
        clips[8 * bad - 3, 0, 4, 4] = value
    return [(clips[n : n + 8], labels[n : n + 8]) for n in range(0, 8 * count, 8)]


LAST: list[tuple[str, Sequence[Phase], Budget]] = [
    ("recalibrate", [FROZEN, Recalibrate()], CAPS),
    ("recalibrate, half", [FROZEN, Recalibrate(), Half()], CAPS),
    ("recalibrate, int8", [FROZEN, Recalibrate(), Int8(epochs=0, batches=1)], CAPS),
    ("int8", [FROZEN, Int8(epochs=0)], CAPS),
    ("scores", [Prune()], CAPS),
    ("candidates", [Prune(importance=frobenius)], CAPS),
    ("joint", [Joint(), Int8(epochs=0)], Budget(bytes=2200)),
    ("rows", [FrequencyMask(keep=4, epochs=0, fine_tune=0)], Budget(macs="60k")),
    ("filters", [FilterPruning()], CAPS),
    ("admm", [FilterPruning("admm", epochs=1)], CAPS),
    ("train", [Train(1), FROZEN], CAPS),
    ("fine-tune", [FROZEN, FineTune(1)], CAPS),
    ("distilled", [FROZEN, FineTune(1, distill=Distill())], CAPS),
    ("unstructured", [Unstructured(steps=2, epochs=1)], Budget(nonzero=700)),
]


@pytest.mark.parametrize("value", [math.nan, pytest.param(-math.inf, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "schedule", "budget"), LAST, ids=[name for name, *_ in LAST])
def test_a_number_in_the_last_batch_is_an_error_that_names_batch_and_layer(
    name: str, schedule: Sequence[Phase], budget: Budget, value: float, tmp_path: Path
) -> None:
    del name
    with pytest.raises(
        (TrainingError, ValueError), match=r"(batch|step) 6\b.*('stem', a Conv2d|calibrate)"
    ) as error:
        fit(tiny(), batches(6, value), budget=budget, schedule=schedule, checkpoint=tmp_path)
    assert "the batch itself holds NaN or infinity" in str(error.value)


def test_a_later_batch_than_those_that_are_read_is_no_matter() -> None:
    schedule = [FROZEN, Recalibrate(batches=5)]
    spoilt = fit(tiny(), batches(6), budget=CAPS, schedule=schedule)
    assert equal(spoilt.model, fit(tiny(), batches(), budget=CAPS, schedule=schedule).model)


class Root(Tiny):
    """Takes the square root of what a layer gives, which is no number for what is negative."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.root(x))

    def __init__(self) -> None:
        super().__init__()
        self.root = Fourth()


class Fourth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x + 50).sqrt()


def test_a_layer_that_makes_it_of_good_data_is_named() -> None:
    with pytest.raises(TrainingError, match=r"batch 4 .*first layer to give .* 'root', a Fourth"):
        fit(Root(), batches(4, -60.0), budget=CAPS, schedule=[FROZEN, Recalibrate()])


class Missing(Tiny):
    """Knows what a NaN in its input means."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.nan_to_num())


def test_a_model_that_takes_missing_values_is_left_alone() -> None:
    schedule = [Prune(), Recalibrate(), FineTune(1), Int8(epochs=0)]
    result = fit(Missing(), batches(6), budget=CAPS, schedule=schedule, val=batches(2))
    assert torch.isfinite(result.model(scenes(4).tensors[0])).all()


class Whole(Tiny):
    """Takes whole numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


def test_whole_numbers_are_never_odd() -> None:
    data = [((10 * x).round().to(torch.int32), y) for x, y in batches()]
    model = Whole()
    model.example_input_array = torch.zeros(1, 1, 8, 8, dtype=torch.int32)
    schedule = [Recalibrate(), FineTune(1)]
    result = fit(model, data, budget=Budget(params="10k"), schedule=schedule, val=data)
    assert result.finite


def test_validation_data_are_looked_at() -> None:
    with pytest.raises(TrainingError, match=r"an output .* on batch 3 of val: .*'stem', a Conv2d"):
        fit(tiny(), batches(), budget=CAPS, schedule=[FROZEN, FineTune(1)], val=batches(3))


def test_labels_that_are_all_ignored_are_no_error() -> None:
    data = batches()
    data[3] = (data[3][0], torch.full_like(data[3][1], -100))
    fit(tiny(), data, budget=CAPS, schedule=[Prune(), Recalibrate(), Int8(epochs=0)])


def far(model: nn.Module, batch: Batch) -> Tensor:
    """A finite loss whose gradient is not: the square root of zero."""
    return cross_entropy(model, batch) + (0 * model(batch[0]).sum()).abs().sqrt()


def test_a_gradient_that_is_not_finite() -> None:
    with pytest.raises(TrainingError, match=r"on batch 1 while .* gradient for 'stem.weight' is"):
        fit(tiny(), batches(), budget=CAPS, schedule=[Prune()], loss=far)


def test_the_last_step_of_a_training_does_not_spoil_the_result(tmp_path: Path) -> None:
    """Its loss is good and its gradient is not, and no further loss would tell."""
    for count in (1, 6):
        schedule = [FROZEN, FineTune(1)]
        with pytest.raises(TrainingError, match=r"hold NaN .* after FineTune 1|the loss is"):
            fit(
                tiny(), batches(count=count), budget=CAPS, schedule=schedule, loss=far,
                checkpoint=tmp_path / str(count),
            )  # fmt: skip
        again = fit(
            tiny(), batches(count=count), budget=CAPS, schedule=[FROZEN],
            checkpoint=tmp_path / f"{count}-again", loss=far,
        )  # fmt: skip
        assert all(torch.isfinite(p).all() for p in again.model.parameters())


def test_numbers_of_a_solver_in_the_log() -> None:
    class Logs(FineTune):
        def run(self, training: Any, part: int) -> None:
            give = training.give

            def logging(lesson: Lesson) -> None:
                give(replace(lesson, after=lambda: training.logged(primal=math.nan)))

            training.give = logging
            super().run(training, part)

    with pytest.raises(TrainingError, match=r"primal is nan at FineTune epoch 1|primal is nan"):
        fit(tiny(), batches(), budget=CAPS, schedule=[FROZEN, Logs(1)])


class Attends(Tiny):
    """Adds a mask of minus infinity to scores that a softmax takes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([0.0, 0.0, 0.0, -torch.inf]))

    def forward(self, x: Tensor) -> Tensor:
        shares = (functional.conv2d(x, torch.ones(4, 1, 8, 8)).flatten(1) + self.mask).softmax(1)
        return super().forward(x) + shares


@pytest.mark.parametrize("last", [[], [Half()], [Int8(epochs=0)]])
def test_a_models_own_infinity_stays_its_own(last: list[Phase], tmp_path: Path) -> None:
    schedule = [Prune(), Recalibrate(), FineTune(1), *last]
    result = fit(Attends(), batches(), budget=CAPS, schedule=schedule)
    assert not result.finite
    result.write(tmp_path / "a.safetensors")


def test_a_session_of_ones_own_loop() -> None:
    session = Session(tiny(), budget=CAPS, data=batches())
    with torch.no_grad():
        session.model.get_parameter("head.bias")[1] = math.nan
    with pytest.raises(VerificationError, match=r"'head.bias' .*hold NaN or infinity"):
        session.finish()
    session = Session(tiny(), budget=CAPS)
    with torch.no_grad():
        session.model.get_parameter("head.bias").fill_(3e38)
        session.model.get_parameter("head.weight").fill_(3e38)
    with pytest.raises(VerificationError, match=r"answers its example .*: .* 'head', a Linear"):
        session.finish()


def spoilt() -> Result:
    result = fit(tiny(), budget=CAPS)
    with torch.no_grad():
        next(iter(result.model.buffers())).fill_(math.nan)
    return result


def test_what_was_spoilt_afterwards_is_not_written(tmp_path: Path) -> None:
    result = spoilt()
    for write in (result.write, result.save, result.export, result.export_executorch):
        with pytest.raises(VerificationError, match=r"'norm.running_mean' hold NaN or infinity"):
            write(tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_a_candidate_that_breaks_on_good_data_is_infinitely_bad() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :4] * math.inf

    assert calibration_loss(Broken(), batches(), cross_entropy) == math.inf
    with pytest.raises(TrainingError, match=r"batch 2 of data, on which candidates are compared"):
        calibration_loss(tiny(), batches(2), cross_entropy)
