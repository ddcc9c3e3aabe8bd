"""Layers that are not trained stay whole, in every entry, unless they are released."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import compressor
from compressor import Budget, Session, fit, measure
from compressor.graph.graph import Graph
from compressor.tracing.tracer import trace
from tests.tracing.test_walk_across import follows

X = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A front end, two convolutions with norms, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv2d(1, 12, 3)
        self.a, self.na = nn.Conv2d(12, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.b, self.nb = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, 5)
        self.example_input_array = X

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.na(self.a(self.front(x))))
        x = torch.relu(self.nb(self.b(x)))
        return self.head(self.depthwise(x).mean((2, 3)))


def fixed(*names: str) -> Net:
    """The network with these modules or parameters not trained."""
    model = Net()
    for name, parameter in model.named_parameters():
        if any(f"{name}.".startswith(f"{part}.") for part in names):
            parameter.requires_grad_(requires_grad=False)
    return model


def whole(graph: Graph, weight: str) -> bool:
    return all(dim.fixed for dim in graph.weights[weight].dims)


@pytest.mark.parametrize("layer", ["front", "a", "b", "depthwise"])
def test_a_layer_that_is_not_trained_keeps_every_entry(layer: str) -> None:
    graph = follows(fixed(layer), X, 1)
    assert whole(graph, f"{layer}.weight")
    assert f"release=['{layer}'] lets it shrink" in graph.frozen[layer]
    assert any(not axis.frozen for axis in graph.axes)


@pytest.mark.parametrize("layer", ["front", "a", "b", "depthwise"])
def test_a_released_layer_is_cut_like_any_other(layer: str) -> None:
    free = trace(Net())
    graph = trace(fixed(layer), release=[layer])
    assert graph.axes == free.axes
    assert graph.frozen == free.frozen


def test_vectors_follow_the_layer_whose_channels_they_meet() -> None:
    graph = trace(fixed("na", "nb", "a.bias", "front.bias"))
    assert graph.axes == trace(Net()).axes


def test_a_network_put_away_for_inference_holds_nothing() -> None:
    graph = trace(Net().requires_grad_(requires_grad=False))
    assert graph.axes == trace(Net()).axes


def test_a_module_stands_for_the_layers_in_it() -> None:
    inner = fixed("front", "b")
    model = nn.Sequential(inner, nn.Linear(5, 5))
    held = trace(model, X)
    assert whole(held, "0.front.weight")
    assert not whole(trace(model, X, release=["0"]), "0.front.weight")
    partly = trace(model, X, release=["0.b"])
    assert whole(partly, "0.front.weight")
    assert not whole(partly, "0.b.weight")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["fronk"], r"release='fronk' names no layer with a weight; the closest names are 'front'"),
        ("front", r"release='front' is a single string: pass a list, release=\['front'\]"),
        ([3], "release= holds 3, a int"),
    ],
)
def test_a_wrong_name_is_refused(names: list[str], message: str) -> None:
    for call in (
        lambda: trace(Net(), release=names),
        lambda: fit(Net(), budget=Budget(params=10**6), release=names, progress=False),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def in_a_session(model: Net, budget: Budget, release: list[str]) -> nn.Module:
    return Session(model, budget=budget, release=release).model


def in_a_fit(model: Net, budget: Budget, release: list[str]) -> nn.Module:
    return fit(model, budget=budget, release=release, progress=False).model


@pytest.mark.parametrize("road", [in_a_session, in_a_fit])
def test_every_road_leaves_it_whole(
    road: Callable[[Net, Budget, list[str]], nn.Module],
) -> None:
    model = fixed("front")
    budget = Budget(params=measure(model).params // 3)
    small = road(model, budget, [])
    assert torch.equal(small.front.weight, model.front.weight)
    assert small.a.weight.shape[1] == 12
    assert not small.front.weight.requires_grad
    assert measure(small).params <= budget.caps["params"]
    assert road(model, Budget(params=measure(model).params // 8), ["front"]).a.in_channels < 12


def test_the_report_says_how_to_ask_for_it() -> None:
    model = fixed("front")
    result = compressor.fit(model, budget=Budget(params=2500), progress=False)
    assert "release=['front']" in result.structure.graph.frozen["front"]


class Tables(nn.Module):
    """A table of products in a buffer between two trained layers, and a blur."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 12)
        self.register_buffer("table", torch.randn(12, 10))
        self.register_buffer("blur", torch.full((10, 1, 3), 1 / 3))
        self.second = nn.Conv1d(10, 8, 1)
        self.last = nn.Linear(8, 3)
        self.example_input_array = torch.randn(1, 7, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = (torch.relu(self.first(x)) @ self.table).transpose(1, 2)
        x = nn.functional.conv1d(x, self.blur, groups=10)
        return self.last(self.second(x).mean(2))


def test_what_a_buffer_writes_stays_and_what_it_reads_may_shrink() -> None:
    graph = trace(Tables())
    rows, columns = graph.weights["table"].dims
    assert not rows.fixed
    assert columns.fixed
    assert graph.weights["second.weight"].dims[1].fixed
    assert any("is the buffer 'table', which is not trained" in w for w in graph.frozen.values())
    assert [axis.name for axis in graph.axes if not axis.frozen] == ["first", "second"]
