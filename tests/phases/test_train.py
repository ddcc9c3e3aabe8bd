"""Settings of a fine-tune: rate, clipping, moving average, label smoothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from compressor import (
    Budget,
    Distill,
    FineTune,
    Int8,
    Prune,
    Recalibrate,
    Result,
    Train,
    Unstructured,
    fit,
)
from compressor.inputs.batches import Batch
from compressor.inputs.losses import Smoothed, cross_entropy
from compressor.phases import constant
from compressor.run.calibration import calibration_loss
from tests.helpers.tiny import equal, loader, refuses, scenes, tiny

CAPS = Budget(params=700, macs="30k")
ALL = {"clip": 0.5, "ema": 0.9, "smoothing": 0.1}


def tuned(tune: FineTune, **options: Any) -> Result:
    data = options.pop("data", loader(192))
    first = options.pop("first", [Prune()])
    return fit(tiny(), data, budget=CAPS, schedule=[*first, tune], **options)


@pytest.mark.parametrize("phase", [FineTune, Train])
@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"lr": -1e-3}, r"lr=-0.001\): must be a number, at least 0"),
        ({"lr": "auto"}, r"lr='auto'\): must be a number"),
        ({"clip": 0}, r"clip=0\): must be a number, more than 0"),
        ({"clip": math.inf}, r"clip=inf\): must be a number, more than 0"),
        ({"clip": True}, r"clip=True\): must be a number, more than 0"),
        ({"ema": 1}, r"ema=1\): must be a number from 0 to below 1"),
        ({"ema": math.nan}, r"ema=nan\): must be a number from 0 to below 1"),
        ({"smoothing": 1.0}, r"smoothing=1.0\): must be a number from 0 to below 1"),
        ({"smoothing": None}, r"smoothing=None\): must be a number from 0 to below 1"),
    ],
)
def test_values_that_mean_nothing(
    phase: type[FineTune], settings: Mapping[str, Any], match: str
) -> None:
    with refuses(rf"{phase.__name__}\({match}"):
        phase(**settings)


def test_the_rate_is_found_once_and_said() -> None:
    result = tuned(FineTune(epochs=2))
    (rate,) = result.report.rates
    assert rate.phase == "FineTune"
    assert rate.lr in dict(rate.tried)
    given = tuned(FineTune(epochs=2, lr=rate.lr))
    assert given.report.rates == ()
    assert equal(result.model, given.model), "looking for it has moved nothing"
    assert [e.loss for e in result.report.log] == [e.loss for e in given.report.log]


def test_dense_training_has_a_rate_of_its_own_unless_it_is_to_be_found() -> None:
    assert not tuned(FineTune(1, lr=1e-3), first=[Train(1), Prune()]).report.rates
    found = tuned(FineTune(1, lr=1e-3), first=[Train(1, lr=None), Prune()]).report.rates
    assert [rate.phase for rate in found] == ["Train"]


@pytest.mark.parametrize("settings", [{}, ALL], ids=["rate", "all"])
def test_stopped_after_an_epoch_it_ends_in_the_same_bits(
    settings: Mapping[str, Any], tmp_path: Path
) -> None:
    """The rate that was found and the weights behind the average are in the checkpoint."""
    tune = FineTune(epochs=4, distill=Distill(), select=True, **settings)

    def stop(log: Any) -> None:
        if len(log) == 2:
            raise KeyboardInterrupt

    def call(**options: Any) -> Result:
        data = DataLoader(scenes(192), batch_size=32, shuffle=True)
        return tuned(tune, data=data, val=loader(32), **options)

    with pytest.raises(KeyboardInterrupt):
        call(checkpoint=tmp_path, on_epoch=stop)
    resumed, whole = call(checkpoint=tmp_path), call()
    assert equal(resumed.model, whole.model)
    assert [e.loss for e in resumed.report.log] == [e.loss for e in whole.report.log]
    assert resumed.report.rates == whole.report.rates != ()


def test_what_is_validated_is_the_average_and_is_what_is_returned() -> None:
    seen: list[dict[str, Tensor]] = []

    def look(model: nn.Module) -> float:
        seen.append({name: t.clone() for name, t in model.state_dict().items()})
        return float(len(seen) == 2)

    last = tuned(FineTune(3, lr=1e-2, ema=0.9), val=look).model.state_dict()
    assert all(torch.equal(seen[-1][name], tensor) for name, tensor in last.items())
    plain = tuned(FineTune(3, lr=1e-2)).model.state_dict()
    assert not torch.equal(plain["head.weight"], last["head.weight"])
    seen.clear()
    best = tuned(FineTune(3, lr=1e-2, ema=0.9, select=True), val=look).model.state_dict()
    assert all(torch.equal(seen[1][name], tensor) for name, tensor in best.items())


def test_an_average_of_no_memory_is_the_network_itself() -> None:
    assert equal(tuned(FineTune(2, lr=1e-2)).model, tuned(FineTune(2, lr=1e-2, ema=0.0)).model)


def test_statistics_go_with_the_average() -> None:
    """Estimated anew they give about the same loss; those of the last step would be stale."""
    data = loader(384)
    model = tuned(FineTune(6, lr=1e-2, ema=0.95, decay=constant), data=data).model.eval()
    batches = list(data)
    with torch.no_grad():
        own = sum(float(cross_entropy(model, batch)) for batch in batches) / len(batches)
    assert own == pytest.approx(calibration_loss(model, batches, cross_entropy), rel=0.1)


def test_masked_weights_stay_zero_under_an_average() -> None:
    schedule = [Unstructured(), FineTune(2, **ALL)]
    result = fit(tiny(), loader(192), budget=Budget(nonzero=400), schedule=schedule)
    assert result.report.after.nonzero <= 400


def test_smoothing_spreads_the_targets() -> None:
    """As torch's own does, and as targets that are written out."""
    model, batch = tiny(), tuple(scenes(16).tensors)
    model.requires_grad_(requires_grad=False)
    even = 0.9 * functional.one_hot(batch[1], 4) + 0.1 / 4
    wanted = cross_entropy(model.eval(), (batch[0], even))
    assert float(Smoothed(0.1)(model, batch)) == pytest.approx(float(wanted), rel=1e-5)
    assert float(Smoothed(0.0)(model, batch)) == float(cross_entropy(model, batch))


def test_only_the_default_loss_is_smoothed() -> None:
    def mine(model: nn.Module, batch: Batch) -> Tensor:
        return cross_entropy(model, batch)

    for loss in (mine, nn.CrossEntropyLoss()):
        with refuses(
            r"FineTune\(smoothing=0.1\) .* default loss, and fit was given another: leave"
        ):
            tuned(FineTune(1, smoothing=0.1), loss=loss)


def test_smoothing_and_a_teacher_are_both_in_the_loss() -> None:
    """The first step's loss, before any weight has changed."""
    data = [tuple(scenes(32).tensors)]
    first = [Prune()]

    def loss(**settings: Any) -> float:
        tune = FineTune(1, lr=0.0, **settings)
        return tuned(tune, data=data, first=first).report.log[-1].loss

    taught, plain = loss(distill=Distill(weight=0.5)), loss()
    both = loss(distill=Distill(weight=0.5), smoothing=0.2)
    assert both - taught == pytest.approx(0.5 * (loss(smoothing=0.2) - plain), abs=1e-5)


def test_clipping_bounds_the_steps() -> None:
    sgd = {"optimizer": torch.optim.SGD, "data": [tuple(scenes(32).tensors)]}

    def moved(**settings: Any) -> float:
        still, after = (
            tuned(FineTune(1, lr=lr, weight_decay=0.0, warmup=0, decay=constant, **settings), **sgd)
            for lr in (0.0, 1.0)
        )
        pairs = zip(still.model.parameters(), after.model.parameters(), strict=True)
        return math.sqrt(sum(float(((p - q).detach() ** 2).sum()) for p, q in pairs))

    assert moved(clip=1e-2) == pytest.approx(1e-2, rel=1e-3)
    assert moved() > 2e-2
    assert moved(clip=1e6) == pytest.approx(moved(), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, ALL], ids=["rate", "all"])
def test_through_fabric_no_bit_changes(settings: Mapping[str, Any]) -> None:
    tune = FineTune(2, distill=Distill(), **settings)
    through = tuned(tune, fabric=Fabric(accelerator="cpu", devices=1))
    plain = tuned(tune)
    assert equal(plain.model, through.model)
    assert plain.report.rates == through.report.rates


def test_mixed_precision_finds_a_rate_too() -> None:
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    (rate,) = tuned(FineTune(1, **ALL), fabric=fabric).report.rates
    assert not rate.why


def test_what_comes_after_an_average_goes_on_from_it() -> None:
    first = [Prune(), FineTune(2, ema=0.9, lr=1e-2), Recalibrate()]
    result = tuned(Int8(epochs=1), first=first, val=loader(32))
    assert CAPS.allows(result.report.after)
