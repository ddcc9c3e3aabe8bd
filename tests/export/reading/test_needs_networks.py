"""Memory of the networks in `models/` as `.tflite` files, against the interpreter's record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import models
from compressor.export.micro.arena import plan
from compressor.export.micro.translation import translated
from compressor.export.reading.contents import unpack
from compressor.export.reading.needs import arena, tail
from compressor.export.tflite import tflite_bytes
from tests.helpers.micro_nets import integers
from tests.helpers.tflite_files import recorded

NETS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "DS-CNN": (models.DSCNN, 16_000, 16_000),
    "ResNet-8": (models.ResNet8, 50_192, 49_152),
    "MobileNet": (models.MobileNet, 75_280, 75_280),
    "autoencoder": (models.Autoencoder, 768, 768),
    "residual CNN": (models.ResidualCNN, 131_088, 96_768),
    "baseline 2022": (lambda: models.DCASEBaseline(2022), 65_280, 65_280),
    "BC-ResNet-1": (lambda: models.BCResNet(1, mels=64, frames=101), 90_496, 77_568),
    "TC-ResNet": (models.TCResNet, 8_320, 6_480),
}
"""Each with the head that TFLM's planner makes of it, and the largest live set."""

WHOLE = [pytest.param(n, marks=[] if n == "autoencoder" else pytest.mark.slow) for n in NETS]


@pytest.mark.parametrize("name", WHOLE)
def test_the_head_to_the_byte_and_the_bound_with_our_plan(name: str) -> None:
    build, greedy, bound = NETS[name]
    torch.manual_seed(0)
    network = integers(build())
    plain = tflite_bytes(network)
    before = arena(unpack(plain))
    assert before.head == recorded(plain)["head"] == greedy
    assert before.peak.bytes == bound
    assert not before.unmodelled
    data = tflite_bytes(network, plan(translated(network)))
    after = arena(unpack(data))
    assert after.head == recorded(data)["head"] == bound
    assert after.planned
    assert not after.clashes
    assert tail(unpack(data), pointer=8) == pytest.approx(recorded(data)["tail"], rel=0.15)
