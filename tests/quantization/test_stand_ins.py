"""Scales before data choose them: every one its own, on the grids that data would choose."""

from __future__ import annotations

import pytest
import torch

from compressor.network import to_network
from compressor.network.fixed import SIGMOID, FixedMove
from compressor.network.integer import Requantise
from compressor.quantization.presets import ORT, TFLM, Preset
from compressor.quantization.stand_ins import stand_in
from tests.helpers.int8_nets import trained
from tests.zoo.micro import MICRO


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
