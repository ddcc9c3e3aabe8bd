"""Units that can go whatever comes in: all that are planted, and no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressor.graph.graph import Graph
from compressor.inputs.tensors import named_tensors
from compressor.repair.by_weights import spare
from compressor.tracing.tracer import trace
from tests.helpers.random_nets import drawn
from tests.helpers.tiny import Tied, tiny


def found(model: nn.Module) -> dict[str, list[int]]:
    """Spare units by number, by a layer of their axis."""
    graph = trace(model)
    found = spare(graph, dict(named_tensors(model)))
    assert (found.twins < np.arange(graph.units)).all()
    return by_axis(graph, found.units)


def by_axis(graph: Graph, units: np.ndarray) -> dict[str, list[int]]:
    return {
        axis.layers[0]: np.flatnonzero(units[axis.units]).tolist()
        for axis in graph.axes
        if units[axis.units].any()
    }


def zeroed(weight: Tensor, dim: int, unit: int) -> None:
    with torch.no_grad():
        weight.select(dim, unit).zero_()


def same(one: int, other: int, *tensors: Tensor) -> None:
    """Make a unit's rows those of another one's."""
    with torch.no_grad():
        for tensor in tensors:
            tensor[other] = tensor[one]


@pytest.mark.parametrize("build", [tiny, Tied])
def test_random_networks_have_none(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert found(build()) == {}


@pytest.mark.parametrize("seed", range(6))
def test_nor_have_others(seed: int) -> None:
    assert found(drawn(seed)) == {}


def test_a_unit_whose_filter_is_zero_says_nothing() -> None:
    model = tiny()
    zeroed(model.down.weight, 0, 5)
    assert found(model) == {"down": [5]}, "whatever its bias"


def test_a_unit_that_nobody_reads() -> None:
    model = tiny()
    zeroed(model.head.weight, 1, 3)
    assert found(model) == {"down": [3]}


def test_a_unit_that_one_of_two_layers_reads_is_not_spare() -> None:
    model = tiny()
    zeroed(model.down.weight, 1, 3)
    assert found(model) == {}, "the trunk reads it again"
    zeroed(model.depthwise.weight, 0, 3)
    zeroed(model.pointwise.weight, 1, 3)
    assert found(model)["stem"] == [3]


def test_of_equal_units_the_first_stays() -> None:
    model = tiny()
    same(2, 7, model.down.weight, model.down.bias)
    same(2, 9, model.down.weight, model.down.bias)
    assert found(model) == {"down": [7, 9]}
    graph = trace(model)
    axis = next(axis for axis in graph.axes if axis.layers[0] == "down")
    twins = spare(graph, dict(named_tensors(model))).twins[axis.units] - axis.first
    assert (twins[7], twins[9]) == (2, 2)


def test_units_of_equal_filters_and_other_biases_are_not_equal() -> None:
    model = tiny()
    same(2, 7, model.down.weight)
    assert found(model) == {}


def test_in_a_trunk_all_that_writes_has_to_be_equal() -> None:
    model = tiny()
    writers = [
        model.stem.weight, model.depthwise.weight, model.depthwise.bias, model.pointwise.weight,
        model.pointwise.bias,
    ]  # fmt: skip
    same(1, 4, *writers)
    assert found(model) == {}, "the norms differ"
    for norm in (model.norm, model.norm2):
        same(1, 4, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    assert found(model) == {"stem": [4]}


def test_a_norm_without_a_scale_silences_a_unit_that_one_layer_writes() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten()
    )
    model.example_input_array = torch.zeros(1, 1, 6, 6)
    with torch.no_grad():
        model[1].weight[2] = 0
    assert found(model) == {"0": [2]}


def test_in_a_trunk_such_a_norm_silences_one_part_alone() -> None:
    model = tiny()
    with torch.no_grad():
        model.norm2.weight[2] = 0
    assert found(model) == {}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_make_no_unit_spare(number: float) -> None:
    model = tiny()
    with torch.no_grad():
        model.down.weight[3, 0, 0, 0] = number
        model.down.weight[4, 0, 0, 0] = number
    graph = trace(model, check=False)
    assert not spare(graph, dict(named_tensors(model))).units.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    model = tiny()
    zeroed(model.down.weight, 0, 5)
    same(2, 7, model.down.weight, model.down.bias)
    graph = trace(model)
    tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in named_tensors(model)}
    assert by_axis(graph, spare(graph, tensors).units) == {"down": [5, 7]}
