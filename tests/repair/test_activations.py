"""Sums over a run are those of the rows themselves, and what is spoilt is left out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.inputs.batches import call
from compressor.repair import activations, rows
from compressor.repair.activations import activations_of
from tests.helpers.tiny import Tied, scenes, tiny

CLIPS = scenes(16).tensors[0]


def test_sums_are_those_of_all_rows_of_all_batches() -> None:
    model = tiny().double().eval()
    found = activations_of(model, list(CLIPS.double().split(4)), call)
    assert {key[0] for key in found} == {
        "stem.weight", "depthwise.weight", "pointwise.weight", "down.weight", "head.weight",
    }  # fmt: skip
    columns = functional.unfold(CLIPS.double(), 3, padding=1).transpose(1, 2).flatten(0, 1)
    products = found["stem.weight", 0].products
    assert products.count == len(columns) == 16 * 64
    torch.testing.assert_close(products.uu[0], columns.T @ columns)
    with torch.no_grad():
        y = model.stem(CLIPS.double()).transpose(0, 1).flatten(1)
    torch.testing.assert_close(products.yy[0], y.square().sum(1))
    torch.testing.assert_close(products.yu[0], y @ columns)


def test_a_layer_that_is_used_twice_sums_over_both() -> None:
    found = activations_of(Tied().eval(), [CLIPS], call)
    assert found["first.weight", 0].products.count == 2 * 16 * 64


def test_the_model_keeps_its_modes_and_draws_nothing() -> None:
    model = tiny(dropout=0.5).train()
    state = torch.get_rng_state()
    activations_of(model, [CLIPS], call)
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_layers_with_numbers_that_are_not_finite_are_left_out() -> None:
    class Spoilt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.good, self.bad = nn.Linear(64, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.bad(self.good(x.flatten(1)) * math.nan)

    found = activations_of(Spoilt(), [CLIPS], call)
    assert [key[0] for key in found] == ["good.weight"]


def test_too_wide_layers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "WIDE", 10)
    found = activations_of(tiny().eval(), [CLIPS], call)
    assert "head.weight" not in {key[0] for key in found}  # 16 channels
    assert "down.weight" in {key[0] for key in found}  # 8, with taps 72


def test_where_rows_are_wide_taps_are_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The products of one channel with another, summed over taps: the blocks' diagonals."""
    whole = activations_of(tiny().eval(), [CLIPS], call)["down.weight", 0]
    monkeypatch.setattr(activations, "MOST", 50)
    merged = activations_of(tiny().eval(), [CLIPS], call)["down.weight", 0]
    assert merged.merged
    assert merged.matrix.shape == (1, 16 * 9, 8)
    blocks = whole.products.uu[0].reshape(8, 9, 8, 9)
    wanted = torch.einsum("itjt->ij", blocks)
    torch.testing.assert_close(merged.products.uu[0], wanted, rtol=1e-4, atol=1e-3)
    assert merged.products.count == 9 * whole.products.count


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_are_limited_and_drawn_alike_every_time(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS", 40)
    one, two = (activations_of(tiny().eval(), [CLIPS], call, seed=seed) for _ in range(2))
    for key, reading in one.items():
        assert reading.products.count <= max(40, 4 * reading.matrix.shape[2]) + 1
        assert torch.equal(reading.products.uu, two[key].products.uu)


def test_no_data_is_no_reading() -> None:
    assert activations_of(tiny(), [], call) == {}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    found = activations_of(tiny().eval().to(dtype), [CLIPS.to(dtype)], call)
    plain = activations_of(tiny().eval(), [CLIPS], call)
    assert found.keys() == plain.keys()
    for key, reading in found.items():
        wanted = plain[key].products
        size = float(wanted.uu.abs().max())
        torch.testing.assert_close(reading.products.uu, wanted.uu, rtol=0.05, atol=0.02 * size)
