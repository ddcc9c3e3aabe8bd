"""What a model returns stays whole; of several results each is told with its line."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, BudgetError, fit
from compressor.graph.graph import OUTPUT
from compressor.tracing.tracer import trace


class Embedding(nn.Module):
    """Two convolutions and a layer, that returns what the layer reads besides."""

    def __init__(self, *, both: bool) -> None:
        super().__init__()
        self.both = both
        self.first, self.last = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.last(self.first(x).relu()).relu()
        e = self.drop(x.mean((2, 3)))
        return (self.head(e), e) if self.both else self.head(e)


X = torch.randn(1, 1, 12, 12)


def test_one_result_is_the_output() -> None:
    assert trace(Embedding(both=False), (X,)).frozen == {"head": OUTPUT}


def test_each_of_two_has_its_line() -> None:
    found = trace(Embedding(both=True), (X,)).frozen
    assert found["last"].startswith(f"{OUTPUT}, one of 2 (test_walk_outputs.py:")
    assert found["last"].endswith("e = self.drop(x.mean((2, 3))))")
    assert "return (self.head(e), e)" in found["head"]


def test_a_refusal_names_the_layer_that_a_result_holds() -> None:
    with pytest.raises(BudgetError) as caught:
        fit(Embedding(both=True), budget=Budget(ram="256"), example=X, progress=False)
    text = str(caught.value)
    assert "no frozen axes" not in text
    assert f"last stays whole: {OUTPUT}, one of 2 (test_walk_outputs.py:" in text
    assert "have forward return fewer results" in text
    assert "mean_kept" not in text
