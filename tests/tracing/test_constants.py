"""Tensors of one value that the code makes are as wide as what they meet, whatever meets them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor import Budget, fit
from compressor.graph.structure import Structure
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from compressor.tracing.trial import randomised
from tests.tracing.test_recurrent import axes
from tests.zoo.loops import LOOPS

WIDTHS: dict[str, tuple[dict[str, int], list[str]]] = {
    "conv_lstm": ({"stem": 6, "cell.conv": 8}, ["cell.hidden"]),
    "conv_lstm_peepholes": ({"reads": 8}, ["hidden"]),
    "selective_scan": ({"into": 16, "says": 3, "says#2": 4}, ["inner", "rank", "states"]),
    "diagonal_states": ({"into": 8}, ["width"]),
    "min_gru": ({"gates": 8}, ["hidden"]),
    "elman_bare": ({"reads": 8}, ["hidden"]),
    "elman_joined": ({"reads": 8}, ["hidden"]),
    "elman_begun_with_ones": ({"reads": 8}, ["hidden"]),
    "filled": ({"layer": 8}, ["width"]),
}
"""Free axes of loops, and the attributes that are told their widths."""


@pytest.mark.parametrize("name", WIDTHS)
def test_a_state_that_the_code_makes_goes_with_its_units(name: str) -> None:
    """Units that are zero from first to last, planted by hand, go without a trace."""
    expected, told = WIDTHS[name]
    model = randomised(LOOPS[name]()).eval()
    graph = trace(model)
    assert axes(graph) == expected
    assert sorted(graph.remembered) == sorted(told)
    if "ones" in name:
        return  # begun with ones, no unit is zero
    first = next(axis for axis in graph.axes if axis.size == 8 or axis.name == "into")
    keep = np.ones(graph.units, dtype=bool)
    keep[[first.first + 1, first.first + 4]] = False
    tensors = dict(model.named_parameters())
    with torch.no_grad():
        for weight in graph.weights.values():
            for dim in (0, 1) if weight.name == "recurs" and weight.dims[0].size == 8 else (0,):
                dead = np.flatnonzero(~weight.dims[dim].alive(keep)) if weight.dims else []
                tensors[weight.name].index_fill_(dim, torch.tensor(dead, dtype=torch.long), 0.0)
    smaller = shrink(model, graph, Structure(graph, keep))
    x = model.example_input_array
    with torch.no_grad():
        assert torch.allclose(model(x), smaller(x), rtol=1e-5, atol=1e-6)


class Numbered(nn.Module):
    """A state whose width is a number in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(3 + 7, 7, 1), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 7, 1)
        for step in range(x.shape[2]):
            h = self.conv(torch.cat([x[:, :, step : step + 1], h], 1)).tanh()
        return self.head(h[..., 0])


def test_a_width_that_is_written_down_is_named_with_its_line() -> None:
    reason = trace(Numbered(), torch.randn(1, 3, 2)).frozen["conv"]
    assert "'new_zeros' (test_constants.py:" in reason
    assert "makes a tensor of as many channels as the code says: take their number" in reason


class Commuted(nn.Module):
    """Results of a GRU and something else, in either order, in one operation."""

    def __init__(self, function: Callable[..., Tensor], other: str, *, first: bool) -> None:
        super().__init__()
        self.function, self.other, self.first = function, other, first
        self.gru, self.layer = nn.GRU(5, 6, batch_first=True), nn.Linear(5, 6)
        self.score, self.scale = nn.Linear(6, 1), nn.Parameter(torch.rand(6) + 0.5)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x)
        others = {
            "a weight": self.scale,
            "a computed weight": self.scale.softmax(0),
            "another layer": self.layer(x),
            "one for all channels": self.score(states).softmax(1),
            "itself": states.flip(1),
            "a step of it": states[:, -1:],
            "a constant": states.new_full(states.shape[-1:], 2.0),
        }
        pair = (states, others[self.other])
        return self.head(self.function(*(pair[::-1] if self.first else pair)).mean(1))


OPERANDS = (
    *("a weight", "a computed weight", "another layer", "one for all channels", "itself"),
    *("a step of it", "a constant"),
)
FUNCTIONS = (torch.add, torch.mul, torch.maximum, torch.minimum, torch.hypot, torch.logaddexp)


@pytest.mark.parametrize("other", OPERANDS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_the_order_of_operands_does_not_matter(function: Callable[..., Tensor], other: str) -> None:
    one, two = (
        trace(Commuted(function, other, first=first), torch.randn(1, 4, 5), check=False)
        for first in (False, True)
    )
    assert axes(one) == axes(two) != {}
    assert one.params(np.ones_like(one.sizes)) == two.params(np.ones_like(two.sizes))
    assert one.macs(np.ones_like(one.sizes)) == two.macs(np.ones_like(two.sizes))


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOPS)
def test_loops_fit_half_of_everything(name: str) -> None:
    model = LOOPS[name]().eval()
    graph = trace(model)
    caps = Budget(params=graph.params(graph.sizes) // 2, macs=graph.macs(graph.sizes) // 2)
    after = fit(model, example=model.example_input_array, budget=caps).report.after
    assert after.params <= caps.params
    assert after.macs <= caps.macs
