"""Prices are what least squares finds when a unit is taken away, brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.graph.graph import Axis, Graph
from compressor.inputs.batches import call
from compressor.repair import prices
from compressor.repair.activations import activations_of
from compressor.repair.prices import Reader, entries_of, residuals, taken_apart, unseen
from compressor.tracing.tracer import trace
from tests.helpers.tiny import Tied, scenes, tiny

CLIPS = scenes(16).tensors[0].double()


def reader(entries: int = 6, out: int = 3, taps: int = 1, seed: int = 0) -> tuple[Reader, Tensor]:
    """A layer of random products; beside it these."""
    source = torch.Generator().manual_seed(seed)
    rows = torch.randn(50, entries, generator=source, dtype=torch.float64)
    rows = rows @ torch.randn(entries, entries, generator=source, dtype=torch.float64)
    system = rows.T @ rows / 50
    weight = torch.randn(out, entries, generator=source, dtype=torch.float64)
    spread = float(((weight @ system) * weight).sum())
    owned = {u: torch.arange(u * taps, (u + 1) * taps) for u in range(entries // taps)}
    return Reader(weight, torch.linalg.inv(system), owned, spread), system


def brute(weight: Tensor, system: Tensor, gone: list[int], spread: float) -> float:
    """Error of the best weight without some entries, in parts of the spread."""
    stays = [e for e in range(len(system)) if e not in gone]
    best = torch.zeros_like(weight)
    part = system[stays][:, stays]
    best[:, stays] = torch.linalg.lstsq(part, system[stays] @ weight.T).solution.T
    rest = weight - best
    return float(((rest @ system) * rest).sum()) / spread


@pytest.mark.parametrize("taps", [1, 2, 3])
def test_a_price_is_the_error_of_least_squares_without_the_unit(taps: int) -> None:
    one, system = reader(taps=taps)
    size = len(one.entries)
    for unit, price in enumerate(one.prices(size)):
        gone = one.entries[unit].tolist()
        assert price == pytest.approx(brute(one.weight, system, gone, one.spread), rel=1e-8)


def test_what_is_left_after_some_have_gone_is_repaired_and_priced_anew() -> None:
    one, system = reader()
    weight, spread = one.weight.clone(), one.spread
    first = float(one.prices(6)[2])
    one.remove([2])
    assert one.weight.shape == (3, 5)
    for unit in (0, 1, 3, 4, 5):
        both = brute(weight, system, [2, unit], spread)
        assert first + one.prices(6)[unit] == pytest.approx(both, rel=1e-8)
    assert one.prices(6)[2] == 0


def test_units_that_share_an_entry_may_go_in_turn() -> None:
    one, _ = reader()
    one.entries = {0: torch.tensor([0, 1]), 1: torch.tensor([1, 2]), 2: torch.tensor([3, 4, 5])}
    one.remove([0])
    assert one.entries[1].tolist() == [0]
    one.remove([1])
    assert one.weight.shape == (3, 3)
    assert np.isfinite(one.prices(3)).all()


def test_units_go_cheapest_first_over_all_readers_and_prices_never_fall() -> None:
    readers = [reader(seed=seed)[0] for seed in (1, 2)]
    together = sum(one.prices(6) for one in readers)
    found = taken_apart(6, readers)
    assert found.min() == pytest.approx(together.min())
    assert int(found.argmin()) == int(together.argmin())
    assert np.isfinite(found).all()


def test_singular_blocks_are_not_cheap_and_end_in_finite_weights() -> None:
    one, _ = reader(taps=2)
    one.inverse[:2, :2] = 0
    assert math.isinf(one.prices(3)[0])
    one.remove([0])
    assert bool(one.weight.isfinite().all())


# --- of networks ---


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ridge too small to be seen."""
    monkeypatch.setattr(prices, "PULL", 1e-12)


class Plain(nn.Module):
    """Two convolutions and a layer, in double precision."""

    def __init__(self, groups: int = 1, *, depthwise: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(1, 4, 3)
            self.each = nn.Conv2d(4, 4, 3, groups=4) if depthwise else nn.Identity()
            self.mix = nn.Conv2d(4, 6, 2, groups=groups)
            self.head = nn.Linear(6, 3)
        self.example_input_array = torch.zeros(1, 1, 8, 8).double()

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.each(self.stem(x).relu()))
        return self.head(x.relu().mean((2, 3)))


def axis_of(graph: Graph, layer: str) -> Axis:
    return next(axis for axis in graph.axes if layer in axis.layers)


def by_brute_force(model: nn.Module, name: str, inputs: Tensor) -> NDArray[np.float64]:
    """Errors of a layer of im2col rows when one channel of its input goes, one after another."""
    layer = model.get_submodule(name)
    rows, shape = inputs, layer.weight.shape
    if inputs.ndim == 4:
        columns = nn.functional.unfold(inputs, shape[2:])
        rows = columns.transpose(1, 2).flatten(0, 1)
    taps = layer.weight[0, 0].numel()
    y = rows @ layer.weight.flatten(1).T
    y = y - y.mean(0)
    found = []
    for unit in range(shape[1]):
        stays = [e for e in range(rows.shape[1]) if e // taps != unit]
        part = torch.cat([rows[:, stays], torch.ones(len(rows), 1).double()], 1)
        fit = part @ torch.linalg.lstsq(part, y, driver="gelsd").solution
        found.append(float((y - fit).square().sum() / y.square().sum()))
    return np.array(found)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("depthwise", [False, True])
def test_the_cheapest_unit_of_an_axis_costs_what_removing_it_leaves(*, depthwise: bool) -> None:
    model = Plain(depthwise=depthwise).double().eval()
    graph = trace(model)
    scores = residuals(graph, activations_of(model, [CLIPS], call))
    with torch.no_grad():
        inside = model.each(model.stem(CLIPS).relu())
        pooled = model.mix(inside).relu().mean((2, 3))
        wanted = {"stem": by_brute_force(model, "mix", inside), "mix": None}
        wanted["mix"] = by_brute_force(model, "head", pooled)
    for layer, brutes in wanted.items():
        found = scores[axis_of(graph, layer).units]
        assert found.min() == pytest.approx(brutes.min(), rel=1e-4)
        assert int(found.argmin()) == int(brutes.argmin())


@pytest.mark.usefixtures("exact")
def test_a_sequence_of_removals_costs_what_least_squares_without_all_of_them_leaves() -> None:
    model = Plain().double().eval()
    graph = trace(model)
    readings = activations_of(model, [CLIPS], call)
    axis = axis_of(graph, "stem")
    (reading,) = (one for key, one in readings.items() if key[0] == "mix.weight")
    products = reading.products.centred()
    owned = entries_of(graph, axis, reading)[0]
    order = np.argsort(residuals(graph, readings)[axis.units])
    system = products.uu[0]
    one = Reader(reading.matrix[0], torch.linalg.inv(system), dict(owned), float(products.yy.sum()))
    total, gone = 0.0, list[int]()
    for unit in order[:-1].tolist():
        gone += owned[unit].tolist()
        total += float(one.prices(axis.size)[unit])
        wanted = brute(reading.matrix[0], system, gone, float(products.yy.sum()))
        assert total == pytest.approx(wanted, rel=1e-6)
        one.remove([unit])


def test_a_layer_that_loses_whole_groups_passes_them_on_and_sets_no_price() -> None:
    model = Plain(groups=2).double().eval()
    graph = trace(model)
    readings = activations_of(model, [CLIPS], call)
    axis = axis_of(graph, "stem")
    assert entries_of(graph, axis, readings["mix.weight", 0]) == []
    assert "mix" in axis.layers
    owned = entries_of(graph, axis, readings["head.weight", 0])
    assert {unit: entries.tolist() for unit, entries in owned[0].items()} == {
        0: [0, 1, 2], 1: [3, 4, 5],
    }  # fmt: skip
    assert np.isfinite(residuals(graph, readings)[axis.units]).all()


def test_units_that_no_layer_reads_have_no_price_and_are_counted_unseen() -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

    model = Ends().eval()
    graph = trace(model, torch.zeros(1, 1, 8, 8))
    assert all(unseen(graph, axis, {}) == 1 for axis in graph.axes)
    assert np.isnan(residuals(graph, {})).all()
    tied = Tied().eval()
    graph = trace(tied)
    readings = activations_of(tied, [CLIPS.float()], call)
    assert all(unseen(graph, axis, readings) == 0 for axis in graph.axes if not axis.frozen)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_inputs_give_finite_prices(value: float) -> None:
    model = tiny().eval()
    graph = trace(model)
    batch = torch.full((8, 1, 8, 8), value)
    scores = residuals(graph, activations_of(model, [batch], call))
    assert np.isfinite(scores[~np.isnan(scores)]).all()
    assert (scores[~np.isnan(scores)] >= 0).all()
