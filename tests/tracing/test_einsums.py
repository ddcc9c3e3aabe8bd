"""Einsums of three tensors shrink and are counted; those of an unknown order stay, and say so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor import measure, trace
from compressor.graph.structure import Structure
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify
from compressor.tracing import einsums

WIDTH = 6


class Summed(nn.Module):
    """Three layers and a weight, put together by an einsum over (batch, time, width)."""

    def __init__(self, equation: str, *, weight: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.equation = equation
        self.first, self.second, self.third = (nn.Linear(3, WIDTH) for _ in range(3))
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH)) if weight else None
        self.head = nn.LazyLinear(4)
        self.example_input_array = torch.randn(1, 5, 3)
        self(self.example_input_array)

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.first(x), self.second(x), self.third(x)
        tensors = (a, b, c) if self.weight is None else (a, self.weight, c)
        if self.equation.count(",") == 3:
            tensors = (*tensors, x)
        return self.head(torch.einsum(self.equation, *tensors).flatten(1))


EQUATIONS = {
    "bid,bjd,bje->bie": False,
    "bid,bjd,bjd->bid": False,
    "bid,bid,bjd->bij": False,
    "bid,de,bje->bij": True,
    "...d,de,...e->...": True,
}


@pytest.mark.parametrize("equation", EQUATIONS)
def test_three_are_two_products(equation: str) -> None:
    model = Summed(equation, weight=EQUATIONS[equation])
    graph = trace(model)
    free = [axis for axis in graph.axes if not axis.frozen]
    assert free
    keep = np.ones(graph.units, dtype=bool)
    for axis in free:
        keep[axis.first : axis.first + axis.size // 2] = False
    structure = Structure(graph, keep)
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small) < 1e-9
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        small(model.example_input_array)
    assert graph.macs(structure.widths) == counter.get_total_flops() // 2
    assert graph.macs(graph.sizes) == measure(model).macs


def test_more_stay() -> None:
    why = trace(Summed("bid,bjd,bje,bic->bie", weight=False)).frozen["first"]
    assert "multiplies many tensors in an order of its own" in why
    assert "test_einsums.py" in why
    assert "write it as products of two" in why


def test_an_order_that_is_chosen_by_the_sizes_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(einsums, "_chosen", lambda: True)
    assert "order of its own" in trace(Summed("bid,bjd,bje->bie", weight=False)).frozen["first"]


def test_a_diagonal_stays() -> None:
    class Diagonal(Summed):
        def forward(self, x: Tensor) -> Tensor:
            square = self.first(x).transpose(1, 2) @ self.second(x)
            return self.head(torch.einsum("bii,bij->bj", square, square))

    why = trace(Diagonal("bid,bjd,bje->bie", weight=False), check=False).frozen["first"]
    assert "takes a diagonal" in why
