"""Complex numbers of two columns each: pairs go together, and parts of one do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import trace
from compressor.graph.structure import Structure
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify


class Turned(nn.Module):
    """Columns in pairs, turned by angles, between two layers; next to each other or far apart."""

    def __init__(self, *, near: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.near = near
        self.first, self.second = nn.Linear(3, 12), nn.Linear(12, 4)
        self.angles = nn.Parameter(torch.randn(6))
        self.example_input_array = torch.randn(1, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x.unflatten(-1, (-1, 2)) if self.near else x.unflatten(-1, (2, -1)).mT
        turned = torch.view_as_complex(x.contiguous()) * torch.exp(1j * self.angles)
        parts = torch.view_as_real(turned)
        return self.second(parts.flatten(-2) if self.near else parts.mT.flatten(-2))


@pytest.mark.parametrize("near", [True, False])
def test_pairs_go_together(*, near: bool) -> None:
    model = Turned(near=near)
    graph = trace(model)
    assert set(graph.frozen) == {"second"}
    (axis,) = graph.axes[:1]
    assert axis.size == 6
    structure = Structure(graph, np.arange(graph.units) != 2)
    small = shrink(model, graph, structure)
    gone = [4, 5] if near else [2, 8]
    left = [row for row in range(12) if row not in gone]
    assert torch.equal(small.first.weight, model.first.weight[left])
    assert verify(model, graph, structure, small) < 1e-6


def test_real_and_imaginary_parts_that_are_channels_stay() -> None:
    class Split(Turned):
        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.view_as_complex(self.first(x)).abs())

    model = Split(near=True)
    model.first, model.second = nn.Linear(3, 2), nn.Linear(5, 4)
    why = trace(model).frozen["first"]
    assert "takes both as one number" in why
    assert "test_pairs.py" in why
