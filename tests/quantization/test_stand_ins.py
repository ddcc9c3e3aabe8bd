"""Scales before data choose them: every one its own, on the grids that data would choose."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.export.micro.translation import translated
from compressor.network import to_network
from compressor.network.fixed import SIGMOID, FixedMove
from compressor.network.integer import Requantise
from compressor.quantization.conversion import convert
from compressor.quantization.presets import ORT, TFLM, Preset
from compressor.quantization.stand_ins import stand_in
from tests.helpers.int8_nets import calibrated, trained
from tests.zoo.micro import MICRO, Net


def scales(name: str, preset: Preset) -> list[float]:
    model = trained(MICRO[name]())
    made = stand_in(to_network(model, (model.example_input_array,)), preset)
    return [float(m.scale) for m in made.modules() if isinstance(m, Requantise)]


@pytest.mark.parametrize("preset", [ORT, TFLM], ids=["ort", "tflm"])
def test_all_scales_differ(preset: Preset) -> None:
    found = scales("joined", preset)
    assert len(found) > 3
    assert len(set(found)) == len(found)


def test_a_sigmoid_has_the_grid_that_it_always_has() -> None:
    assert SIGMOID in scales("silu", TFLM)


def test_moves_are_there_that_data_would_bring() -> None:
    model = trained(MICRO["joined"]())
    made = stand_in(to_network(model, (model.example_input_array,)), TFLM)
    assert sum(isinstance(m, FixedMove) for m in made.modules()) >= 2


def test_numbers_beyond_limits_need_no_limit() -> None:
    grid = scales("relu6", TFLM)
    assert all(256 * scale < 6 for scale in grid)
    assert torch.tensor(grid).min() > 0


def _doubled(net: Net, x: Tensor) -> Tensor:
    first, last = net.layers
    y = first(x)
    return last(torch.cat([y, y], 1))


@pytest.mark.parametrize("learned", [False, True])
def test_copies_side_by_side_have_the_grid_of_what_was_copied(*, learned: bool) -> None:
    """Learned scales may part; chosen ones are the same, so that the file moves nothing."""
    torch.manual_seed(0)
    model = trained(Net((2, 6, 6), _doubled, nn.Conv2d(2, 4, 3), nn.Conv2d(8, 3, 1)))
    whole = to_network(model, (model.example_input_array,))
    sizes = [
        [tensor.size for tensor in translated(made).tensors]
        for made in (stand_in(whole, TFLM, learned=learned), convert(calibrated(whole, TFLM)))
    ]
    assert (sizes[0] == sizes[1]) is not learned
