"""Convolutions of single places mix tokens, and let the channels behind them pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, fit, measure, trace
from compressor.graph.structure import Structure
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify
from compressor.surgery.weightings import randomised

TOKENS, WIDTH, HIDDEN = 6, 16, 10


class Mixer(nn.Module):
    """Tokens mixed by convolutions whose channels they are."""

    def __init__(self, stride: int = 1, kernel: int = 1) -> None:
        super().__init__()
        self.enter, self.norm = nn.Linear(5, WIDTH), nn.LayerNorm(WIDTH)
        self.up = nn.Conv1d(TOKENS, HIDDEN, kernel, stride, padding=kernel // 2)
        self.down = nn.Conv1d(HIDDEN, TOKENS, 1)
        self.head = nn.Linear(WIDTH // stride, 3)
        self.example_input_array = torch.randn(1, TOKENS, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.enter(x))
        return self.head(self.down(torch.relu(self.up(x))).mean(1))


def test_hidden_tokens_and_channels_shrink_apart_and_are_counted() -> None:
    model = randomised(Mixer()).eval()
    graph = trace(model)
    assert {axis.size for axis in graph.axes if not axis.frozen} >= {WIDTH, HIDDEN}
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if not axis.frozen and axis.size > 1:
            keep[axis.first : axis.first + axis.size // 3] = False
    structure = Structure(graph, keep)
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small) < 1e-9
    cost = measure(small, model.example_input_array)
    assert (cost.params, cost.macs) == (
        graph.params(structure.widths),
        graph.macs(structure.widths),
    )
    assert small.up.out_channels == small.down.in_channels < HIDDEN
    assert small.enter.out_features == small.head.in_features < WIDTH


def test_a_silent_hidden_token_goes_without_a_trace() -> None:
    model = randomised(Mixer()).eval()
    with torch.no_grad():
        model.up.weight[4] = 0
        model.up.bias[4] = 0
        model.down.weight[:, 4] = 0
    graph = trace(model)
    unit = int(graph.weights["up.weight"].dims[0].owner[4])
    keep = np.ones(graph.units, dtype=bool)
    keep[unit] = False
    small = shrink(model, graph, Structure(graph, keep))
    x = torch.randn(3, TOKENS, 5)
    torch.testing.assert_close(small(x), model(x))


def test_all_caps_are_met() -> None:
    model = Mixer()
    cost = measure(model)
    budget = Budget(params=cost.params // 2, macs=cost.macs // 2)
    assert budget.allows(measure(fit(model, budget=budget).model, model.example_input_array))


@pytest.mark.parametrize("form", [{"stride": 2}, {"kernel": 3}])
def test_what_mixes_places_holds_the_channels_in_them(form: dict[str, int]) -> None:
    graph = trace(Mixer(**form))
    assert "another dimension than the channels" in graph.frozen["enter"]
    assert not graph.frozen.get("up")
