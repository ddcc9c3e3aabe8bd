"""Planted dead channels: nothing depends on them, and where something does none are planted."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from benchmarks.breadth.planting import equal, lively, outputs, plant

WIDTH = 9


def chain(*between: nn.Module) -> tuple[nn.Module, tuple[Tensor]]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, WIDTH), *between, nn.Linear(WIDTH, 3))
    return lively(net).eval(), (torch.randn(2, 4),)


def test_a_third_of_the_channels_can_be_cut_by_hand() -> None:
    model, inputs = chain(nn.BatchNorm1d(WIDTH), nn.ReLU())
    found = plant(model, inputs)
    first, norm, _, last = found.model
    kept = torch.nonzero(first.weight.abs().sum(1) > 0).flatten()
    assert len(kept) == WIDTH - WIDTH // 3
    assert found.params == 3 * (4 + 1 + 1 + 1 + 3)
    before = outputs(found.model, inputs)
    small = copy.deepcopy(found.model)
    for module in (small[0], small[1]):
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.ndim:
                tensor.data = tensor.data[kept]
    small[3].weight.data = last.weight.data[:, kept]
    assert equal(before, outputs(small, inputs))
    assert not equal(before, outputs(model, inputs))
    assert norm.running_mean.numel() == WIDTH


@pytest.mark.parametrize("across", [nn.Softmax(-1), nn.LayerNorm(WIDTH), nn.Sigmoid()])
def test_none_are_planted_before_what_looks_across_or_revives(across: nn.Module) -> None:
    model, inputs = chain(across)
    found = plant(model, inputs)
    assert not found.zeroed
    assert equal(outputs(model, inputs), outputs(found.model, inputs), 0.0)


def test_none_are_planted_on_a_trunk_that_is_an_output_too() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.a(x)
            return x, self.b(torch.relu(x))

    assert not plant(Both().eval(), (torch.randn(2, 4),)).zeroed
