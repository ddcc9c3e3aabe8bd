"""Random networks in TensorFlow Lite Micro: every output is the reference's, or one sentence."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.network import to_network
from compressor.network.file import container
from compressor.phases.int8 import Int8
from compressor.quantization.conversion import convert
from compressor.quantization.presets import TFLM
from tests.helpers.int8_nets import calibrated, examples
from tests.helpers.random_nets import drawn
from tests.helpers.tflm import outputs

SEEDS = range(48)
REFUSED = "no .tflite is written: "


def tamed(model: nn.Module) -> nn.Module:
    """With activations that have a kernel there behind the first layer."""
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.GELU | nn.PReLU):
            setattr(model, name, nn.SiLU() if isinstance(layer, nn.GELU) else nn.ReLU6())
    return model


@cache
def found(seed: int) -> str:
    """What became of a network: "equal", or why it is refused."""
    model = tamed(drawn(seed))
    given = to_network(model)
    whole = convert(calibrated(given, TFLM))
    planned = Int8(preset=TFLM).network_after(given, {})
    assert len(container.pack(whole)) <= container.bound(planned)
    try:
        program = translated(whole)
    except ValueError as error:
        return str(error)
    x = examples(model, 16, seed=5)
    with torch.no_grad():
        wanted = whole(x)
    assert not program.floating()
    assert torch.equal(outputs(written(program), program, x), wanted)
    return "equal"


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_equal_or_refused(seed: int) -> None:
    said = found(seed)
    assert said == "equal" or (REFUSED in said and "\n" not in said)


@pytest.mark.slow
def test_many_are_written() -> None:
    assert sum(found(seed) == "equal" for seed in SEEDS) >= len(SEEDS) // 4
