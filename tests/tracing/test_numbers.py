"""Numbers in the code that count what was summed over follow it; others stay what they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import trace
from compressor.graph.structure import Structure
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify

WIDTH = 12


class Between(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.first = nn.Conv2d(2, WIDTH, 3)
        self.second = nn.Conv2d(WIDTH, 4, 1)
        self.example_input_array = torch.randn(1, 2, 6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.function(self.first(x))).mean((2, 3))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / x.shape[1] + x.sum(1, keepdim=True) / x.shape[1],
        lambda x: x / (x.norm(dim=1, keepdim=True) * x.shape[1] ** -0.5 + 1e-3),
        lambda x: x * (x.shape[1] ** 0.5 / (x.square().sum(1, keepdim=True).sqrt() + 1e-3)),
        lambda x: x - x.sum((1, 2), keepdim=True) / (x.shape[1] * x.shape[2]),
    ],
)
def test_means_and_norms_by_hand_shrink(function: Callable[[Tensor], Tensor]) -> None:
    model = Between(function)
    graph = trace(model)
    free = [axis for axis in graph.axes if not axis.frozen]
    if not free:  # a number beside no sum is none of what was summed over
        assert "breaks the forward pass" in graph.frozen["first"]
        return
    keep = np.ones(graph.units, dtype=bool)
    keep[:5] = False
    structure = Structure(graph, keep)
    assert verify(model, graph, structure, shrink(model, graph, structure)) < 1e-9


def test_a_norm_by_the_root_of_the_channels_is_free() -> None:
    model = Between(lambda x: x / (x.square().sum(1, keepdim=True) / x.shape[1] + 1e-3).sqrt())
    graph = trace(model)
    assert set(graph.frozen) == {"second"}
    assert len(graph.numbers) == 1


def test_a_number_that_happens_to_be_the_size_stays() -> None:
    graph = trace(Between(lambda x: x + x.sum(1, keepdim=True) / WIDTH))
    assert set(graph.frozen) == {"second"}
    assert not graph.numbers


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.square().sum(1, keepdim=True) / torch.tensor(x.shape[1], dtype=x.dtype) + x,
        lambda x: x.abs().sum(1, keepdim=True) / torch.sqrt(torch.tensor(float(x.shape[1]))) + x,
        lambda x: x + x.sum(1, keepdim=True) * x.shape[1] ** -0.25,
    ],
)
def test_numbers_of_other_forms_follow(function: Callable[[Tensor], Tensor]) -> None:
    model = Between(function)
    graph = trace(model)
    assert set(graph.frozen) == {"second"}
    assert [size.power for size in graph.numbers.values()]
    structure = Structure(graph, np.arange(graph.units) >= 5)
    assert verify(model, graph, structure, shrink(model, graph, structure)) < 1e-6


def test_a_number_beside_an_einsum_follows_what_that_sums_over() -> None:
    mean = Between(lambda x: x + torch.einsum("bchw,bchw->bhw", x, x)[:, None] / x.shape[1])
    graph = trace(mean)
    assert [size.power for size in graph.numbers.values()] == [1.0]
    structure = Structure(graph, np.arange(graph.units) >= 5)
    assert verify(mean, graph, structure, shrink(mean, graph, structure)) < 1e-9


def test_a_tensor_of_two_numbers_stays() -> None:
    graph = trace(Between(lambda x: x.sum((2, 3)).mul(torch.ones(1) * 12)[:, :, None, None] + x))
    assert not graph.numbers
