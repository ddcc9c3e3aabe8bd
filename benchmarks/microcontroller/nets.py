"""Networks with random weights as integers for TensorFlow Lite Micro, and random inputs for them.

Statistics of normalisation are those of the inputs, as training leaves them. What such a network
says means nothing, and its margins are small: classes agree less than those of a trained one would.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from compressor.network import Network, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import TFLM
from models import (
    DSCNN,
    Autoencoder,
    BCResNet,
    DCASEBaseline,
    MobileNet,
    ResidualCNN,
    ResNet8,
    TCResNet,
)

NETS: dict[str, Callable[[], nn.Module]] = {
    "DS-CNN": DSCNN,
    "ResNet-8": ResNet8,
    "MobileNet 0.25": MobileNet,
    "autoencoder": Autoencoder,
    "residual CNN": ResidualCNN,
    "DCASE baseline 2022": partial(DCASEBaseline, 2022),
    "BC-ResNet-1": partial(BCResNet, 1, 12, 5, mels=40, frames=101),
    "TC-ResNet": TCResNet,
}
"""The first four are those of MLPerf Tiny."""

CALIBRATION = 16
"""Inputs that statistics and scales are chosen from."""


def inputs(model: nn.Module, count: int, seed: int) -> Tensor:
    """So many random inputs of a model's shape."""
    generator = torch.Generator().manual_seed(seed)
    example = cast("Tensor", model.example_input_array)
    return torch.randn(count, *example.shape[1:], generator=generator)


def integers(model: nn.Module, seed: int = 0) -> Network:
    """The integer reference of a model, whose statistics of normalisation are replaced."""
    x = inputs(model, CALIBRATION, seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(x)
    prepared = prepare(to_network(model.eval(), (x[:1],)), TFLM)
    calibrate(prepared, [(x,)])
    return convert(prepared)
