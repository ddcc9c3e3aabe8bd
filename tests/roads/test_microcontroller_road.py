"""From a network to a microcontroller's runtime, on real keywords: every output the reference's.

Nothing is trained: statistics of normalisation are those of the clips, weights are random. What a
network says means nothing then, and its margins are small, so that one step that differs would
show. `fit` calibrates, rounds and proves; the file is run by TensorFlow Lite Micro.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, Int8, fit
from compressor.export.micro.translation import translated
from compressor.quantization.presets import TFLM, Preset
from compressor.reports.result import Result, load
from models import (
    DSCNN,
    Autoencoder,
    BCResNet,
    BCResNetASC,
    CPMobile,
    CPResNet,
    DCASEBaseline,
    MobileNet,
    ResidualCNN,
    ResNet8,
    SharedResNet,
    TCResNet,
)
from recipes.features.logmel import MelSettings, log_mels
from tests.helpers.tflm import outputs

CLIPS = 500
"""Clips that outputs are compared on; others choose the scales."""

RATE = 16_000

CLASSES = 12

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "DCASE baseline": lambda: DCASEBaseline(2022),
    "residual": lambda: ResidualCNN(CLASSES, (8, 16, 24, 32), mels=40, frames=101),
    "TC-ResNet": lambda: TCResNet(CLASSES),
    "DS-CNN": lambda: DSCNN(CLASSES),
    "ResNet-8": lambda: ResNet8(CLASSES),
    "MobileNet": lambda: MobileNet(CLASSES, size=64),
    "autoencoder": Autoencoder,
    "CP-ResNet": lambda: CPResNet(8, num_classes=CLASSES, in_channels=1, mels=40, frames=51),
    "CP-Mobile, baseline 2024": lambda: CPMobile.baseline2024(CLASSES, mels=64, frames=33),
    "Shared-ResNet": lambda: SharedResNet(8, CLASSES, in_channels=1, mels=32, frames=51),
    "BC-ResNet": lambda: BCResNet(1, CLASSES, mels=64, frames=51),
    "BC-ResNet-ASC": lambda: BCResNetASC(8, CLASSES, None, mels=32, frames=51),
    "Residual Normalization": lambda: BCResNetASC(8, CLASSES, mels=32, frames=34),
}

FLOAT = replace(TFLM, statistics=False)
"""Residual Normalization stays in floating point."""


@cache
def heard(folder: Path) -> Tensor:
    """Log-mels of clips of all keywords in turn, (clips, 1, 40, 101)."""
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    chosen = rows[:: len(rows) // (CLIPS + 64)][: CLIPS + 64]
    audio = np.zeros((len(chosen), RATE), np.int16)
    for row, place in zip(chosen, audio, strict=True):
        clip, rate = soundfile.read(folder / "audio" / row["filename"], dtype="int16")
        assert rate == RATE
        place[: len(clip)] = clip[:RATE]
    settings = MelSettings(window=0.030, hop=0.010, mels=40, transform=1024)
    return log_mels(torch.from_numpy(audio), settings, torch.device("cpu"))


def shown(x: Tensor, model: nn.Module) -> Tensor:
    """Clips in the shape that a network takes: stretched, repeated over channels, or flattened."""
    shape = model.example_input_array.shape
    if len(shape) == 2:
        return functional.interpolate(x, (shape[1] // 5, 5), mode="bilinear").flatten(1)
    stretched = functional.interpolate(x, tuple(shape[2:]), mode="bilinear")
    shifts = torch.arange(shape[1])  # no two channels are the same
    return torch.cat([stretched.roll(int(n), dims=3) for n in shifts], 1)


def settled(model: nn.Module, x: Tensor) -> nn.Module:
    """With the clips' own statistics, as training leaves them, and outputs that differ."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for part in x.split(32):
            model.train()(part)
    return model.eval()


def rounded(model: nn.Module, x: Tensor, preset: Preset) -> Result:
    """`fit` on some clips, with labels that mean nothing."""

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return network(batch[0]).square().mean()

    data = [(part, torch.zeros(len(part))) for part in x.split(16)]
    return fit(
        model, data, budget=Budget(bytes="1MB"), loss=loss, progress=False,
        schedule=[Int8(epochs=0, preset=preset)],
    )  # fmt: skip


def said(
    model: nn.Module, folder: Path, shared_data: Path, preset: Preset = TFLM
) -> tuple[Tensor, Tensor]:
    """What the file says of all clips, and the reference."""
    pytest.importorskip("tflite_micro")
    data = shared_data / "speech_commands_v002_test"
    if not (data / "clips.csv").is_file():
        pytest.skip(f"no keywords at {data}: clips.csv is missing")
    clips = shown(heard(data), model)
    some, others = clips[CLIPS:], clips[:CLIPS]
    result = rounded(settled(model, some), some, preset)
    result.export(folder / "model.tflite")
    result.write(folder / "model")
    again = load(folder / "model")
    with torch.no_grad():
        wanted = torch.cat([result.model(part) for part in others.split(50)])
        assert torch.equal(again(others[:50]), wanted[:50])
    assert len({tuple(row.tolist()) for row in wanted}) > CLIPS // 4  # clips are told apart
    content = (folder / "model.tflite").read_bytes()
    return outputs(content, translated(result.network), others), wanted


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("name", NETWORKS)
def test_every_output_is_the_references(name: str, shared_data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    found, wanted = said(NETWORKS[name](), tmp_path, shared_data)
    assert torch.equal(found, wanted)


@pytest.mark.slow
@pytest.mark.data
def test_hardly_an_output_differs_in_floating_point(shared_data: Path, tmp_path: Path) -> None:
    """Sums of many numbers in floating point may differ in the last bit."""
    torch.manual_seed(0)
    model = NETWORKS["Residual Normalization"]()
    with pytest.warns(UserWarning, match="(is|are) computed in float32"):
        found, wanted = said(model, tmp_path, shared_data, FLOAT)
    assert float((found == wanted).double().mean()) > 0.99
    assert float((found.argmax(1) == wanted.argmax(1)).double().mean()) > 0.99
