"""Cuts by sizes that a module of one's own remembers: the attribute is told, or nothing shrinks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import Budget, FilterPruning, Prune, Session, fit, load, measure, trace
from compressor.graph.archive import mismatches, pack, unpack
from compressor.graph.structure import Structure, full
from compressor.surgery.cutting import shrink
from tests.helpers.tiny import refuses

EXAMPLE = torch.zeros(1, 3, 8, 8)


class MaxFeatureMap(nn.Module):
    """The larger of two halves, cut by a remembered size (LightCNN)."""

    def __init__(self, entering: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.both = nn.Conv2d(entering, 2 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.split(self.both(x), self.width, 1)
        return torch.max(a, b)


class Parts(nn.Module):
    """Parts of unequal, remembered sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = 5, 9
        self.all = nn.Conv2d(3, 14, 3, padding=1)
        self.one, self.other = nn.Conv2d(5, 6, 1), nn.Conv2d(9, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.all(x).relu().split([self.left, self.right], 1)
        return self.one(a) * self.other(b)


class Skips(nn.Module):
    """What goes on and what goes to the end, sliced at a remembered size, in two layers alike."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = 7
        self.first = nn.Conv2d(3, 7, 1)
        self.layers = nn.ModuleList(nn.Conv2d(7, 12, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(5, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.first(x), torch.zeros(1)
        for layer in self.layers:
            y = layer(x.tanh())
            x, skips = x + y[:, : self.inner], skips + y[:, self.inner :]
        return self.last(skips.relu())


class Misled(nn.Module):
    """An attribute that happens to be as large as a share, and means something else."""

    def __init__(self, *, number: bool) -> None:
        super().__init__()
        self.height, self.number = 8, number
        self.both = nn.Conv2d(3, 16, 3, padding=1)
        self.last = nn.Conv2d(8, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.both(x)
        a, b = y.split(8 if self.number else y.shape[1] // 2, 1)
        return self.last(a * b)[:, :, : self.height]


def network(body: nn.Module, width: int = 6) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        body, nn.Conv2d(width, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)
    )
    model.example_input_array = EXAMPLE
    return model


BODIES = {
    "feature maps": lambda: nn.Sequential(MaxFeatureMap(3, 8), MaxFeatureMap(8, 6)),
    "parts": Parts,
    "skips": Skips,
}


@pytest.mark.parametrize("name", BODIES)
def test_remembered_sizes_are_told(name: str, tmp_path: Path) -> None:
    model = network(BODIES[name]())
    whole = measure(model)
    assert not any(layer.startswith("0") for layer in trace(model).frozen)
    caps = Budget(params=whole.params // 3, macs=whole.macs // 3)
    result = fit(model, budget=caps)  # compares with the masked original
    assert result.report.after.params > 0.8 * whole.params / 3
    result.save(tmp_path / "saved")
    again = load(tmp_path / "saved", network(BODIES[name]()))
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), result.model.eval()(x))
    assert measure(model) == whole


@pytest.mark.parametrize("name", BODIES)
def test_single_filters_and_several_shrinks(name: str) -> None:
    model = network(BODIES[name]())
    inputs = torch.randn(8, 3, 8, 8)
    data = [(inputs, torch.randint(4, (8,)))]
    whole = measure(model)
    for share in (0.7, 0.4, 0.2):
        caps = Budget(params=int(share * whole.params))
        phase = FilterPruning("oneshot", "filters")
        assert caps.allows(fit(model, data, budget=caps, schedule=[phase]).report.after)
    caps = Budget(params=whole.params // 3)
    session = Session(model, budget=caps, prune=Prune(steps=3), every=1, data=data)
    for _ in range(3):
        functional.cross_entropy(session.model(inputs), data[0][1]).backward()
        session.step()
    assert caps.allows(session.finish().report.after)
    assert len(session.shrinks) == 3


def test_numbers_in_the_code_hold_their_channels_and_other_attributes_stay() -> None:
    held = trace(network(Misled(number=True)))
    assert "counts channels by their position" in held.frozen["0.both"]
    model = network(Misled(number=False))
    result = fit(model, budget=Budget(params=measure(model).params // 2))
    assert "0.both" not in result.structure.graph.frozen
    body = result.model.get_submodule("0")
    assert isinstance(body, Misled)
    assert body.height == 8


def test_a_graph_goes_with_models_that_remember_the_same() -> None:
    model = network(Parts())
    graph = trace(model)
    assert unpack(pack(full(graph))).graph.remembered.keys() == graph.remembered.keys()
    before = {key: value for key, value in pack(full(graph)).items() if key != "remembered"}
    assert not unpack(before).graph.remembered  # as files of before have it
    other = network(Parts())
    other.get_submodule("0").left = 4  # type: ignore[assignment]
    assert mismatches(other, graph) == ["the attribute 0.left is 4 instead of 5"]
    with refuses("the attribute 0.left is 4 instead of 5"):
        shrink(other, graph, full(graph))


class Written(nn.Module):
    """Sizes of views and of constants that the module has as an attribute."""

    def __init__(self, how: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how, self.width = how, 12
        self.first = nn.Conv2d(3, 12, 3)
        self.second = nn.Conv2d(12, 4, 1)
        self.example_input_array = torch.randn(1, 3, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.how(torch.relu(self.first(x)), self.width)).mean((2, 3))


@pytest.mark.parametrize(
    "how",
    [
        lambda x, c: x.view(x.shape[0], c, -1).reshape(x.shape[0], c, 6, 6),
        lambda x, c: torch.cat([x, torch.zeros(x.shape[0], c, 6, 2, dtype=x.dtype)], 3),
        lambda x, c: x * torch.full((1, 1, 1, 1), 0.5, dtype=x.dtype).expand(x.shape[0], c, 6, 6),
    ],
)
def test_a_size_that_an_attribute_holds_is_told(how: Callable[[Tensor, int], Tensor]) -> None:
    model = Written(how)
    graph = trace(model)
    assert set(graph.frozen) == {"second"}
    smaller = shrink(model, graph, Structure(graph, np.arange(12) < 7))
    assert smaller.width == 7
    assert smaller(torch.randn(2, 3, 8, 8)).shape == (2, 4)
