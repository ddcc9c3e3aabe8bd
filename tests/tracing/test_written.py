"""Widths that code holds as numbers: the line is named where removing channels breaks it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import compressor

EXAMPLE = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 32, 3)
        self.last = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.pooled(self.second(self.first(x))))

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Silent(Net):
    def pooled(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], 32, -1).mean(2)  # the line


class Loud(Net):
    def pooled(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], 32, 4).mean(2)  # the line


class Open(Net):
    def pooled(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], -1).mean(2)


class Zeros(Net):
    def pooled(self, x: Tensor) -> Tensor:
        more = torch.ones(x.shape[0], 32, 2, 2)
        return (x + more).mean((2, 3))  # the line


@pytest.mark.parametrize("network", [Silent, Loud, Zeros])
def test_the_line_with_the_number_is_named(network: type[Net]) -> None:
    torch.manual_seed(0)
    graph = compressor.trace(network(), EXAMPLE)
    assert set(graph.frozen) == {"second", "last"}
    assert "# the line" in graph.frozen["second"]
    assert "x.shape[1]" in graph.frozen["second"] or network is Zeros


def test_a_size_that_is_computed_is_none() -> None:
    assert set(compressor.trace(Open(), EXAMPLE).frozen) == {"last"}


class TakesOut(Net):
    def pooled(self, x: Tensor) -> Tensor:
        most = x.abs().max().item()  # the line
        return (x / most).mean((2, 3))


def test_a_number_taken_out_of_a_tensor_is_named() -> None:
    torch.manual_seed(0)
    graph = compressor.trace(TakesOut(), EXAMPLE)
    assert "# the line takes a number out of a tensor" in graph.frozen["second"]
