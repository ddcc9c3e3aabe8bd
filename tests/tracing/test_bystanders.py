"""Attributes that only happen to hold a number stay what they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import trace
from compressor.graph.structure import Structure
from compressor.surgery.cutting import shrink


class Bystander(nn.Module):
    """As many heads as the longest sequence has steps, and as a layer that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.longest, self.heads, self.depth = 4, 4, 4
        self.qkv, self.head = nn.Linear(3, 3 * 24), nn.Linear(24, 2)
        self.example_input_array = torch.randn(1, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, : self.longest]
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, scale=0.4)
        return self.head(y.transpose(1, 2).flatten(2))


def test_the_attribute_that_the_code_needs_is_told_and_no_other() -> None:
    model = Bystander()
    graph = trace(model)
    assert set(graph.remembered) == {"heads"}
    keep = np.ones(graph.units, dtype=bool)
    axis = next(axis for axis in graph.axes if axis.size == 4)
    keep[axis.first] = False
    small = shrink(model, graph, Structure(graph, keep))
    assert (small.heads, small.longest, small.depth) == (3, 4, 4)
    assert small(torch.randn(1, 6, 3)).shape == (1, 4, 2)
