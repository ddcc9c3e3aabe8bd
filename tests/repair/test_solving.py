"""One layer's answer: what the dense layer says, on what the smaller network feeds it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from compressor.graph.structure import Structure, full
from compressor.inputs.batches import call
from compressor.repair import solving
from compressor.repair.dense import Dense
from compressor.repair.layers import Layer, layers_of
from compressor.repair.ridge import Solution
from compressor.repair.solving import Wanted, answer, write
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from tests.helpers.tiny import scenes, tiny

CLIPS = scenes(64).tensors[0]
ROUNDING = 1e-5
"""Of products of single precision, where what varies is small beside its mean."""


def layer_of(model: nn.Module, name: str) -> Layer:
    return next(one for one in layers_of(model.eval(), CLIPS, call) if one.key[0] == name)


def dense_of(model: nn.Module, clips: Tensor = CLIPS) -> Dense:
    return Dense(model, list(clips.split(16)), call)


def without_a_channel(model: nn.Module, unit: int = 0) -> tuple[nn.Module, Structure]:
    """The network without a unit of its second axis, which `head` reads."""
    graph = trace(model)
    keep = full(graph).keep.copy()
    axis = next(axis for axis in graph.axes if "down" in axis.layers)
    keep[axis.first + unit] = False
    structure = Structure(graph, keep)
    return shrink(model, graph, structure).eval(), structure


def test_of_the_network_itself_nothing_better_is_found() -> None:
    model = tiny().eval()
    found = answer(model, dense_of(tiny().eval()), layer_of(model, "head.weight"), Wanted())
    assert found is not None
    assert found.before == pytest.approx(0, abs=ROUNDING)
    assert found.after == pytest.approx(found.before, abs=1e-9)


def test_an_answer_is_nearer_to_what_the_dense_layer_says() -> None:
    model = tiny().eval()
    small, _ = without_a_channel(model)
    layer = layer_of(small, "head.weight")
    found = answer(small, dense_of(model), layer, Wanted())
    assert found is not None
    assert found.after < found.before
    with torch.no_grad():
        said = model(CLIPS)
        before = (small(CLIPS) - said).square().mean()
        write(small, layer, found)
        after = (small(CLIPS) - said).square().mean()
    assert after < before / 2
    spread = said.double().var(0, correction=0).sum()
    assert 4 * float(after) / float(spread) == pytest.approx(found.after, rel=1e-3)


def test_a_layer_that_lost_outputs_is_asked_for_those_that_stay() -> None:
    model = tiny().eval()
    small, structure = without_a_channel(model, unit=5)
    kept = torch.tensor([n for n in range(16) if n != 5])
    found = answer(small, dense_of(model), layer_of(small, "down.weight"), Wanted(kept))
    assert found is not None
    assert found.before == pytest.approx(0, abs=ROUNDING)
    assert structure.keep.sum() == structure.graph.units - 1


def test_factors_are_what_the_outputs_are_multiplied_with() -> None:
    model = tiny().eval()
    twice = tiny().eval()
    with torch.no_grad():
        twice.head.weight.mul_(2)
        twice.head.bias.mul_(2)
    wanted = Wanted(factors=torch.full((4,), 2.0))
    found = answer(twice, dense_of(model), layer_of(twice, "head.weight"), wanted)
    assert found is not None
    assert found.before == pytest.approx(0, abs=ROUNDING)


def test_masked_entries_stay_zero_in_the_model() -> None:
    model, small = tiny().eval(), tiny().eval()
    mask = torch.rand(small.down.weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    with torch.no_grad():
        small.down.weight.mul_(mask)
    layer = layer_of(small, "down.weight")
    found = answer(small, dense_of(model), layer, Wanted(), mask=mask)
    assert found is not None
    assert found.after < found.before
    write(small, layer, found)
    assert not small.down.weight[~mask].any()


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_are_not_finite_have_no_answer(number: float) -> None:
    clips = CLIPS.clone()
    clips[20] = number
    model = tiny().eval()
    dense = dense_of(tiny().eval(), clips)
    assert answer(model, dense, layer_of(model, "stem.weight"), Wanted()) is None


def test_layers_that_do_not_compare_have_none() -> None:
    model = tiny().eval()
    small, _ = without_a_channel(model)
    layer = layer_of(small, "down.weight")
    dense = dense_of(model)
    assert answer(small, dense, layer, Wanted()) is None, "15 outputs of 16"
    assert answer(small, dense, layer, Wanted(torch.arange(20))) is None, "20 of 16"


def test_too_wide_layers_get_their_bias_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solving, "LARGE", 8)
    model = tiny().eval()
    small, _ = without_a_channel(model)
    layer = layer_of(small, "head.weight")
    weight = small.head.weight.detach().clone()
    found = answer(small, dense_of(model), layer, Wanted())
    assert found is not None
    write(small, layer, found)
    assert torch.equal(small.head.weight, weight)
    with torch.no_grad():
        torch.testing.assert_close(small(CLIPS).mean(0), model(CLIPS).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_an_answer_is_written_in_the_layer_s_own_type(dtype: torch.dtype) -> None:
    model = nn.Linear(3, 2).to(dtype)
    x = torch.randn(8, 3).to(dtype)
    (layer,) = layers_of(model, x, call)
    weight, bias = torch.randn(1, 2, 3).double(), torch.randn(1, 2).double()
    write(model, layer, Solution(weight, bias, 0.1, 1.0, 0.0))
    assert model.weight.dtype == model.bias.dtype == dtype
    torch.testing.assert_close(model.weight.double(), weight[0], rtol=0.01, atol=0.01)
    torch.testing.assert_close(model.bias.double(), bias[0], rtol=0.01, atol=0.01)
