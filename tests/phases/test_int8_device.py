"""What is validated in training for a microcontroller is what its file says, to the last bit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor import Budget, Int8, fit
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.quantization.presets import TFLM
from models import ResidualNorm
from tests.helpers.int8_nets import examples, trained
from tests.helpers.tflm import outputs
from tests.zoo.micro import chain

ANY = Budget(bytes="1MB")


def net() -> nn.Module:
    torch.manual_seed(0)
    return trained(
        chain(
            (1, 8, 9), nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.SiLU(), ResidualNorm(),
            nn.Conv2d(6, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
    )  # fmt: skip


def batches() -> list[tuple[Tensor, Tensor]]:
    x = examples(net(), 32, seed=7)
    return [(part, part[:, 0, 2, 2].gt(0).long()) for part in x.split(8)]


def test_every_epoch_is_judged_by_the_files_arithmetic() -> None:
    x = examples(net(), 20, seed=8)
    said: list[Tensor] = []

    def val(model: nn.Module) -> float:
        said.append(model(x))
        return float(said[-1].double().sum())

    schedule = [Int8(epochs=2, lr=1e-2, preset=TFLM)]
    result = fit(net(), batches(), budget=ANY, schedule=schedule, val=val, progress=False)
    program = translated(result.network)
    found = outputs(written(program), program, x)
    assert len(said) == 2
    assert torch.equal(found, said[-1])
    assert not torch.equal(said[0], said[1])
    assert result.report.log[-1].accuracy == float(found.double().sum())


def test_the_best_epoch_is_the_files_best() -> None:
    x = examples(net(), 20, seed=8)
    seen: list[float] = []

    def val(model: nn.Module) -> float:
        seen.append(-float(model(x).double().square().sum()))
        return seen[-1]

    schedule = [Int8(epochs=2, lr=0.3, preset=TFLM, select=True)]
    result = fit(net(), batches(), budget=ANY, schedule=schedule, val=val, progress=False)
    with torch.no_grad():
        assert -float(result.model(x).double().square().sum()) == max(seen)
