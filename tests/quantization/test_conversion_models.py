"""Every model becomes integers in a few passes, whatever its size and whatever its weights.

A pass of a small network takes milliseconds of one thread. Where several threads wait for each
other on a busy machine it takes hundreds of times that, so what is bounded is how many there are.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import models
from compressor.network import Network, to_network
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from tests.helpers.int8_nets import examples, trained

MOST = 3
"""Passes of the model: exported once, and compared for a batch of one and of three."""


def asc(**options: object) -> nn.Module:
    return models.BCResNetASC(10, mels=64, **options)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "DCASEBaseline": lambda: models.DCASEBaseline(2022),
    "ResidualCNN": models.ResidualCNN,
    "BCResNetASC, no residual norm": lambda: asc(residual_norm=None),
    "BCResNetASC, no residual norm, 80 channels": lambda: models.BCResNetASC(residual_norm=None),
    "BCResNetASC": asc,
    "BCResNet": lambda: models.BCResNet(1, mels=64),
    "CPMobile": models.CPMobile,
    "CPResNet": models.CPResNet,
    "SharedResNet": lambda: models.SharedResNet(8, mels=64, frames=31),
    "Tandem": lambda: models.Tandem(64, 8, frames=34),
    "Normalised": lambda: models.Normalised(
        models.GlobalFreqNorm(torch.zeros(64), torch.ones(64)), asc(residual_norm=None)
    ),
    "PCEN": lambda: models.Normalised(models.FixedPCEN(34, 0.02), asc(residual_norm=None)),
    "LinearMoments": lambda: models.LinearMoments(64),
    "AudioTransformer": lambda: models.AudioTransformer(width=24, depth=1),
    "TCResNet": models.TCResNet,
    "DSCNN": models.DSCNN,
    "ResNet8": models.ResNet8,
    "MobileNet": models.MobileNet,
    "Autoencoder": models.Autoencoder,
    "CREPE": models.CREPE,
}
QUICK = ("DCASEBaseline",)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
)
def test_integers_take_a_few_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = trained(MODELS[name]())
    passes = {Network: 0, type(model): 0}
    for cls in passes:
        monkeypatch.setattr(cls, "forward", counted(cls, passes))
    made = to_network(model)
    assert passes[type(model)] <= MOST
    assert passes[Network] <= 2
    prepared = prepare(made)
    calibrate(prepared, [(examples(model, 4),)])
    integers = convert(prepared)
    assert passes[type(model)] <= MOST
    assert passes[Network] <= 2 + 1  # and one for each batch of the calibration
    assert any(t.dtype == torch.int8 for t in integers.buffers())


def counted(cls: type[nn.Module], passes: dict[type, int]) -> Callable[..., object]:
    forward = cls.forward

    def once(self: nn.Module, *inputs: torch.Tensor) -> object:
        passes[cls] += 1
        return forward(self, *inputs)

    return once


def test_every_model_is_tried() -> None:
    tried = " ".join(MODELS)
    nets = [
        n for n in models.__all__ if "example_input_array" in (getattr(models, n).__doc__ or "")
    ]
    assert nets
    assert not [name for name in nets if name not in tried]
