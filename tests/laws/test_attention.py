"""Transformers of all kinds: what says nothing goes without a trace, and what is cut is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor import Budget, fit
from compressor.counting.measuring import measure
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.inputs.evaluation import evaluating
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify
from compressor.surgery.weightings import randomised
from compressor.tracing.tracer import trace
from tests.helpers.structures import owners
from tests.zoo.attention import ATTENTION
from tests.zoo.attention_written import WRITTEN
from tests.zoo.planting import PLANTS
from tests.zoo.scaled import SCALED
from tests.zoo.transformers import WHOLE

NETWORKS = {**WHOLE, **ATTENTION, **WRITTEN, **SCALED}
PARTS = {
    f"{name}: {p.kind} {i}": (name, p) for name in NETWORKS for i, p in enumerate(PLANTS[name])
}
"""Every part that can go, by network."""


def built(name: str) -> nn.Module:
    """A network with weights of either sign, in double precision."""
    torch.manual_seed(0)
    model = randomised(NETWORKS[name]()).double().eval()
    example = model.example_input_array
    several = isinstance(example, tuple)
    model.example_input_array = tuple(x.double() for x in example) if several else example.double()
    return model


def inputs(model: nn.Module, batch: int = 2) -> tuple[Tensor, ...]:
    """Noise of the examples' shapes."""
    example = model.example_input_array
    random = torch.Generator().manual_seed(1)
    shapes = [x.shape[1:] for x in (example if isinstance(example, tuple) else (example,))]
    return tuple(torch.randn(batch, *shape, generator=random).double() for shape in shapes)


def output(model: nn.Module) -> Tensor:
    with evaluating(model), torch.no_grad():
        return model(*inputs(model))


def torch_macs(model: nn.Module) -> int:
    """By PyTorch's counter, on shapes alone, where attention is its two products."""
    shown = [x.to("meta") for x in inputs(model, 1)]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.to("meta")(*shown)
    return counter.get_total_flops() // 2


def thinned(graph: Graph, share: float, seed: int = 3) -> Structure:
    """A structure without a share of every axis that is free."""
    random = np.random.default_rng(seed)
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if not axis.frozen:
            lost = random.permutation(axis.size)[: int(share * axis.size)]
            keep[axis.first + lost] = False
    return Structure(graph, keep)


@pytest.mark.parametrize("part", PARTS)
def test_what_says_nothing_goes_without_a_trace(part: str) -> None:
    name, plant = PARTS[part]
    model = built(name)
    plant.put_into(model)
    graph = trace(model)
    (unit,) = owners(graph, plant.gone)
    assert not graph.axes[graph.axis_of[unit]].frozen
    structure = Structure(graph, np.arange(graph.units) != unit)
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small) < 1e-9
    assert torch.allclose(output(small), output(model), rtol=1e-9, atol=1e-9)
    assert measure(small).params < measure(model).params
    assert measure(small).params == graph.params(structure.widths)
    assert measure(small).macs == graph.macs(structure.widths) == torch_macs(small)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_planted_is_heard_where_it_is_not_silenced(part: str) -> None:
    """Else the test above would show nothing: the part removed does say something by itself."""
    name, plant = PARTS[part]
    model = built(name)
    before = output(model)
    plant.put_into(model)
    assert not torch.allclose(output(model), before, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_whatever_is_cut_computes_what_the_masked_original_does(name: str) -> None:
    model = built(name)
    graph = trace(model)
    for share in (0.3, 0.6):
        structure = thinned(graph, share)
        small = shrink(model, graph, structure)
        assert verify(model, graph, structure, small) < 1e-9
        cost = measure(small)
        params = graph.params(structure.widths)
        assert cost.params == params == sum(p.numel() for p in small.parameters())
        assert cost.macs == graph.macs(structure.widths) == torch_macs(small)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_half_of_the_macs_and_parameters(name: str) -> None:
    """Joint caps hold, by PyTorch's own counter."""
    torch.manual_seed(0)
    model = NETWORKS[name]()
    cost = measure(model)
    budget = Budget(params=cost.params // 2, macs=cost.macs // 2)
    small = fit(model, budget=budget).model
    assert sum(p.numel() for p in small.parameters()) <= cost.params // 2
    assert torch_macs(small.double()) <= cost.macs // 2
