"""What says nothing of its own goes, all of it, and outputs stay; everything else stays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.graph.graph import Axis, Graph
from compressor.graph.structure import Structure
from compressor.inputs.batches import call
from compressor.inputs.tensors import named_tensors
from compressor.repair.activations import activations_of
from compressor.repair.by_weights import spare
from compressor.repair.folding import fold, redundant
from compressor.surgery.attention import opened
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from tests.helpers.random_nets import drawn
from tests.helpers.tiny import Tied, scenes, tiny

CLIPS = scenes(96).tensors[0]


def axis_of(graph: Graph, layer: str) -> Axis:
    return next(axis for axis in graph.axes if layer in axis.layers)


def kept_of(model: nn.Module, x: Tensor = CLIPS, **widths: int) -> tuple[Structure, nn.Module]:
    """What is kept of a model, and the smaller one, folded."""
    model = opened(model).eval()
    graph = trace(model)
    readings = activations_of(model, list(x.split(32)), call, exact=True)
    structure = redundant(graph, readings, **widths)
    fold(model, structure, readings)
    return structure, shrink(model, graph, structure).eval()


def gone(structure: Structure) -> dict[str, int]:
    """Numbers of units that went, by a layer of their axis."""
    found = {
        axis.layers[0]: int((~structure.keep[axis.units]).sum()) for axis in structure.graph.axes
    }
    return {name: count for name, count in found.items() if count}


def far(small: nn.Module, model: nn.Module, x: Tensor) -> float:
    """Largest difference of outputs, in parts of how they vary."""
    with torch.no_grad():
        wanted = model.eval()(x)
        return float((small(x) - wanted).abs().max() / wanted.std())


FRESH = scenes(64, seed=8).tensors[0]
"""Inputs that nothing was found on."""


def dead(model: nn.Module) -> None:
    """A unit that is below zero always."""
    with torch.no_grad():
        model.down.bias[3] = -1e3


def constant(model: nn.Module) -> None:
    with torch.no_grad():
        model.down.weight[3] = 0
        model.down.bias[3] = 2


def unread(model: nn.Module) -> None:
    with torch.no_grad():
        model.head.weight[:, 3] = 0


def double(model: nn.Module) -> None:
    with torch.no_grad():
        model.down.weight[3], model.down.bias[3] = model.down.weight[1], model.down.bias[1]


def scaled(model: nn.Module) -> None:
    """A multiple by what ReLU lets through."""
    with torch.no_grad():
        model.down.weight[3] = 2.5 * model.down.weight[1]
        model.down.bias[3] = 2.5 * model.down.bias[1]


PLANTS = (dead, constant, unread, double, scaled)


@pytest.mark.parametrize("plant", PLANTS)
def test_a_unit_that_says_nothing_of_its_own_goes(plant: Callable[[nn.Module], None]) -> None:
    model = tiny()
    plant(model)
    structure, small = kept_of(model)
    assert gone(structure) == {"down": 1}
    assert far(small, model, FRESH) < 1e-5


def test_all_of_several_go_at_once() -> None:
    model = tiny()
    with torch.no_grad():
        model.down.weight[3], model.down.bias[3] = model.down.weight[1], model.down.bias[1]
        model.down.weight[6] = 3 * model.down.weight[1]
        model.down.bias[6] = 3 * model.down.bias[1]
        model.down.bias[8], model.down.bias[9] = -1e3, -1e3
        model.head.weight[:, 12] = 0
    structure, small = kept_of(model)
    assert gone(structure) == {"down": 5}
    assert far(small, model, FRESH) < 1e-5


class Chain(nn.Module):
    """Layers of one width with norms and without anything in between that is not linear."""

    def __init__(self, act: nn.Module, *, norm: bool = True, bias: bool = True) -> None:
        super().__init__()
        self.one = nn.Conv2d(1, 6, 3, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.act = act
        self.two = nn.Conv2d(6, 5, 3, bias=bias)
        self.head = nn.Linear(5, 4)
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.act(self.norm(self.one(x)))).relu().mean((2, 3)))


def test_a_linear_combination_goes_taps_and_norms_included() -> None:
    torch.manual_seed(0)
    model = Chain(nn.Identity())
    with torch.no_grad():
        model.norm.running_var.uniform_(0.5, 1.5)
        rows = model.one.weight / (model.norm.running_var + 1e-5).sqrt()[:, None, None, None]
        mixed = 0.7 * rows[0] - 0.4 * rows[1]
        model.one.weight[4] = mixed * (model.norm.running_var[4] + 1e-5).sqrt()
        scale = (model.norm.running_var + 1e-5).rsqrt()
        bias = model.one.bias * scale
        model.one.bias[4] = (0.7 * bias[0] - 0.4 * bias[1]) / scale[4]
    structure, small = kept_of(model)
    assert gone(structure)["one"] >= 1, "two convolutions in turn may need fewer still"
    assert far(small, model, FRESH) < 1e-4


def test_nine_filters_of_three_by_three_are_all_there_can_be() -> None:
    """Of one input channel twelve linear filters span nine dimensions, and their biases one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 12, 3, bias=False), nn.Conv2d(12, 3, 1), nn.Flatten())
    model.example_input_array = torch.zeros(1, 1, 8, 8)
    structure, small = kept_of(model)
    assert gone(structure) == {"0": 3}
    assert far(small, model, FRESH) < 1e-4


def test_a_dead_unit_of_a_residual_trunk_goes_where_all_writers_are_dead() -> None:
    model = tiny()
    with torch.no_grad():
        model.norm.weight[2], model.norm.bias[2] = 0, 0
        model.norm2.weight[2], model.norm2.bias[2] = 0, 0
    structure, small = kept_of(model)
    assert gone(structure) == {"stem": 1}
    assert far(small, model, FRESH) < 1e-5


def test_a_relation_that_holds_for_one_reader_alone_removes_nothing() -> None:
    """Two units are equal behind a clamp, where one layer reads them, and not before it."""

    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 6, 3)
            self.one, self.two = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)
            self.example_input_array = torch.zeros(1, 1, 8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return (self.one(x.sign()) + self.two(x)).mean((2, 3))

    torch.manual_seed(0)
    model = Read()
    with torch.no_grad():
        model.stem.weight[4], model.stem.bias[4] = 2 * model.stem.weight[1], 2 * model.stem.bias[1]
    structure, small = kept_of(model)
    assert gone(structure) == {"stem": 1}, "twice as much is a multiple, and has the same sign"
    assert far(small, model, FRESH) < 1e-4
    with torch.no_grad():
        model.stem.bias[4] = 2 * model.stem.bias[1] + 1e-3
        model.two.bias.zero_()
    assert gone(kept_of(model)[0]) in ({}, {"stem": 1})  # signs may differ nowhere on the data
    with torch.no_grad():
        model.stem.weight[4] = model.stem.weight[1].abs()
        model.stem.bias[1], model.stem.bias[4] = 1e3, 1e3
    assert gone(kept_of(model)[0]) == {}, "both signs are always one; what is read is not"


def test_a_shared_layer_reads_in_all_places() -> None:
    torch.manual_seed(0)
    model = Tied()
    structure, small = kept_of(model)
    assert gone(structure) == {}
    assert far(small, model, FRESH) < 1e-5
    with torch.no_grad():
        model.stem.weight[2], model.stem.bias[2] = 0, -1
        model.first.weight[2] = 0
    structure, small = kept_of(model)
    assert gone(structure) == {"stem": 1}
    assert far(small, model, FRESH) < 1e-5


def test_in_a_transformer_s_perceptron_too() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, dropout=0.0)
    with torch.no_grad():
        layer.linear1.weight[3], layer.linear1.bias[3] = (
            layer.linear1.weight[7],
            layer.linear1.bias[7],
        )
        layer.linear1.bias[5] = -1e3
    layer.example_input_array = torch.zeros(1, 6, 8)
    x = torch.randn(64, 6, 8)
    structure, small = kept_of(layer, x)
    assert {name: n for name, n in gone(structure).items() if "linear1" in name} == {"linear1": 2}
    keep = structure.keep.copy()
    for axis in structure.graph.axes:
        if "linear1" not in axis.layers:
            keep[axis.units] = True
    model = opened(layer).eval()
    readings = activations_of(model, [x], call, exact=True)
    part = Structure(structure.graph, keep)
    fold(model, part, readings)
    small = shrink(model, structure.graph, part).eval()
    assert far(small, layer, torch.randn(9, 6, 8)) < 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_random_networks_lose_nothing_that_matters(seed: int) -> None:
    model = drawn(seed)
    source = torch.Generator().manual_seed(1)
    x, fresh = (
        torch.randn(64, *model.example_input_array.shape[1:], generator=source) for _ in "ab"
    )
    structure, small = kept_of(model, x)
    if gone(structure):
        assert far(small, model, x) < 1e-3
        assert far(small, model, fresh) < 1e-2


def test_widths_are_floored_and_rounded() -> None:
    model = tiny()
    with torch.no_grad():
        model.down.weight[4:], model.down.bias[4:] = 0, 0
    assert gone(kept_of(model)[0]) == {"down": 12}
    assert gone(kept_of(model, floor=7)[0]) == {"down": 9}
    assert gone(kept_of(model, round_to=8)[0]) == {"down": 8}
    assert gone(kept_of(model, floor=9, round_to=8)[0]) == {}


def test_only_those_that_may_go_do() -> None:
    model = tiny()
    double(model)
    model.eval()
    graph = trace(model)
    readings = activations_of(model, [CLIPS], call, exact=True)
    none = np.zeros(graph.units, dtype=bool)
    assert redundant(graph, readings, among=none).keep.all()
    axis = axis_of(graph, "down")
    for unit in (1, 3):
        one = none.copy()
        one[axis.first + unit] = True
        keep = redundant(graph, readings, among=one).keep
        assert np.flatnonzero(~keep).tolist() == [axis.first + unit]


def test_few_rows_show_zeros_alone() -> None:
    """Of eight examples nothing is said of combinations of sixteen."""
    model = tiny()
    double(model)
    dead(model)
    with torch.no_grad():
        model.down.bias[4] = -1e3
    assert gone(kept_of(model, CLIPS[:8])[0]).get("down", 0) < 15


def test_twins_are_read_in_the_place_of_their_like_alone() -> None:
    """On data on which everything depends on everything else, other data included."""
    model = tiny().eval()
    double(model)
    graph = trace(model)
    found = spare(graph, dict(named_tensors(model)))
    same = torch.ones(64, 1, 8, 8) * torch.linspace(1, 2, 64)[:, None, None, None]
    changed = opened(model)
    readings = activations_of(changed, [same], call, exact=True)
    structure = Structure(graph, ~found.units)
    before = model.head.weight.detach().clone()
    fold(changed, structure, readings, twins=found.twins)
    wanted = before.clone()
    wanted[:, 1] += before[:, 3]
    wanted[:, 3] = 0
    torch.testing.assert_close(changed.head.weight.detach(), wanted)
    torch.testing.assert_close(changed.head.bias, model.head.bias)
    small = shrink(changed, graph, structure).eval()
    assert far(small, model, FRESH) < 1e-5


def test_sizes_far_apart_end_in_the_same_outputs() -> None:
    """Where the ridge is rounded off."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Conv2d(64, 8, 3), nn.Flatten())
    model.example_input_array = torch.zeros(1, 1, 8, 8)
    with torch.no_grad():
        model[0].weight[:2] *= 1e5
        model[0].weight[1], model[0].bias[1] = model[0].weight[0], model[0].bias[0]
        model[2].weight[:, 2:] *= 1e5
    structure, small = kept_of(model)
    assert gone(structure).get("0", 0) >= 1
    assert np.isfinite(far(small, model, CLIPS))
