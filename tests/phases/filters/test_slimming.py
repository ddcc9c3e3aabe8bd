"""Slim layers: what is counted is executed, and it computes what the masked network computes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor import measure, trace
from compressor.counting.cost import cost_of
from compressor.errors import VerificationError
from compressor.graph.structure import Structure
from compressor.inputs.tensors import named_tensors
from compressor.phases.filters.masking import MaskedFilters, verify
from compressor.phases.filters.reach import Reach
from compressor.phases.filters.slimming import Slim, ports
from compressor.phases.filters.uncoupled import split
from compressor.tracing.trial import randomised
from models import BCResNetASC
from tests.helpers.filter_nets import NETS, empty, inputs_of, network, slimmed


def drawn(reach: Reach, seed: int, share: float) -> Structure:
    """A closed structure with something left in every layer."""
    random = np.random.default_rng(seed)
    while True:
        found = reach.closed(random.random(reach.split.graph.units) < share)
        if not empty(reach, found):
            return found
        share = 1 - 0.8 * (1 - share)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("share", [0.9, 0.6])
def test_a_slim_model_is_the_masked_one_and_costs_what_was_predicted(
    name: str, share: float
) -> None:
    model, parts, reach = network(name)
    structure = drawn(reach, 1, share)
    slim = slimmed(model, parts, structure)
    assert verify(model, parts, structure, slim, inputs_of(model)) < 1e-11
    predicted, counted = cost_of(structure), measure(slim, inputs_of(model))
    assert (counted.params, counted.macs, counted.bytes) == (
        predicted.params,
        predicted.macs,
        predicted.bytes,
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["tiny", "tied", "residual", "bc-resnet-asc", "shared"]),
    st.integers(0, 10**6),
    st.floats(0.4, 0.98),
)
def test_whatever_filters_go(name: str, seed: int, share: float) -> None:
    model, parts, reach = network(name)
    structure = drawn(reach, seed, share)
    slim = slimmed(model, parts, structure)
    assert verify(model, parts, structure, slim, inputs_of(model)) < 1e-11
    assert measure(slim, inputs_of(model)).params == cost_of(structure).params


def test_in_float64_to_twelve_digits_and_in_float32_to_six() -> None:
    model, parts, reach = network("bc-resnet-asc")
    structure = drawn(reach, 3, 0.6)
    clip = torch.randn(1, 1, 32, 8, generator=torch.Generator().manual_seed(0))
    for kind, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        wide = copy.deepcopy(model).to(kind)
        tensors = dict(named_tensors(wide))
        (wanted,) = MaskedFilters(parts, structure, tensors).outputs((clip.to(kind),)).tensors
        with torch.no_grad():
            found = slimmed(wide, parts, structure).eval()(clip.to(kind))
            dense = wide(clip.to(kind))
        assert float((found - wanted).abs().max()) <= tolerance * float(dense.abs().max())
        assert float((found - dense).abs().max()) > 1e-3 * float(dense.abs().max())


def test_what_is_slimmed_is_not_the_model_given() -> None:
    model, parts, reach = network("tiny")
    before = copy.deepcopy(model.state_dict())
    slimmed(model, parts, drawn(reach, 0, 0.5))
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(isinstance(module, Slim) for module in model.modules())


def test_layers_stay_what_they_are_under_their_names() -> None:
    model, parts, reach = network("bc-resnet-asc")
    slim = slimmed(model, parts, drawn(reach, 0, 0.6))
    assert [n for n, _ in slim.named_parameters()] == [n for n, _ in model.named_parameters()]
    norm = slim.get_submodule("stage1.0.norm")
    assert isinstance(norm, Slim)
    assert isinstance(norm, type(model.get_submodule("stage1.0.norm")))
    assert isinstance(slim.get_submodule("stage1.0.depthwise"), nn.Conv2d)
    again = copy.deepcopy(slim)
    clip = torch.randn(2, 1, 32, 8)
    assert torch.equal(again(clip), slim(clip))


def test_nothing_is_gathered_or_spread_where_all_is_needed() -> None:
    model, parts, reach = network("tiny")
    whole = reach.closed(np.ones(parts.graph.units, dtype=bool))
    assert ports(parts, whole) == {}
    names = [bank.name for bank in parts.banks]
    keep = np.ones(parts.graph.units, dtype=bool)
    keep[parts.of(names.index("down"))[:4]] = False  # only the head reads it: plain removal
    inner = reach.closed(keep)
    assert ports(parts, inner) == {}
    assert slimmed(model, parts, inner).get_submodule("head").in_features == 12
    keep[parts.of(names.index("pointwise"))[2]] = False
    trunk = ports(parts, reach.closed(keep))
    assert set(trunk) == {"norm2"}  # the trunk's channel 2 lives on, the branch writes zeros to it
    assert trunk["norm2"].spread.tolist() == [0, 1, 7, 2, 3, 4, 5, 6]
    assert trunk["norm2"].gathered is None


def test_a_slim_model_trains() -> None:
    model, parts, reach = network("bc-resnet-asc")
    slim = slimmed(model, parts, drawn(reach, 0, 0.5)).train()
    clips = torch.randn(4, 1, 32, 8, generator=torch.Generator().manual_seed(0))
    slim(clips).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in slim.parameters())


def test_a_slim_model_exports() -> None:
    model, parts, reach = network("bc-resnet-asc")
    slim = slimmed(model, parts, drawn(reach, 0, 0.5)).eval()
    clip = torch.randn(1, 1, 32, 8, generator=torch.Generator().manual_seed(0))
    exported = torch.export.export(slim, (clip,)).module()
    assert torch.equal(exported(clip), slim(clip))


def test_a_slim_model_that_computes_something_else_is_refused() -> None:
    model, parts, reach = network("tiny")
    structure = drawn(reach, 0, 0.6)
    slim = slimmed(model, parts, structure)
    slim.get_parameter("pointwise.weight").data *= 1.001
    with pytest.raises(VerificationError, match=r"outputs differ by .* Use Prune\(\)"):
        verify(model, parts, structure, slim, inputs_of(model))


def test_axes_that_are_kept_stay_whole() -> None:
    model = BCResNetASC(20, mels=32, frames=8).eval()
    parts = split(model, trace(model, keep=["stage1"], check=False))
    reach = Reach(parts)
    closed = reach.closed(np.zeros(parts.graph.units, dtype=bool))
    stage1 = [n for n, axis in enumerate(parts.coupled.axes) if axis.frozen]
    assert len(stage1) == 1
    assert closed.keep[parts.coupled.axes[stage1[0]].units].all()
    names = {bank.name: place for place, bank in enumerate(parts.banks)}
    assert len(parts.of(names["stage1.0.pointwise"])) == 0


def test_layers_that_are_used_by_hand_keep_all_filters() -> None:
    class ByHand(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 6, 3, padding=1)
            self.second = nn.Conv2d(6, 6, 3, padding=1)
            self.head = nn.Linear(6, 2)
            self.example_input_array = torch.zeros(1, 1, 5, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.first(x).relu()
            y = torch.conv2d(y, self.second.weight, self.second.bias, padding=1).relu()
            return self.head(y.mean((2, 3)))

    model = ByHand().eval()
    parts = split(model, trace(model))
    assert [bank.name for bank in parts.banks] == ["first", "head"]
    reach = Reach(parts)
    keep = np.ones(parts.graph.units, dtype=bool)
    keep[parts.of(0)[1]] = False
    structure = reach.closed(keep)
    slim = slimmed(model, parts, structure)
    assert verify(model, parts, structure, slim, inputs_of(model)) < 1e-11
    assert tuple(slim.get_parameter("first.weight").shape) == (5, 1, 3, 3)
    assert tuple(slim.get_parameter("second.weight").shape) == (6, 5, 3, 3)


def test_in_place_sums_and_activations() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
            self.branch = nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6))
            self.last = nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU(inplace=True))
            self.head = nn.Linear(6, 3)
            self.example_input_array = torch.zeros(1, 1, 8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            y = self.branch(x)
            y += x
            x = x.add_(1.0)
            return self.head((self.last(y.relu_()) + x).mean((2, 3)))

    model = InPlace().eval()
    parts = split(model, trace(model))
    reach = Reach(parts)
    for seed in range(5):
        structure = drawn(reach, seed, 0.6)
        slim = slimmed(model, parts, structure)
        assert verify(model, parts, structure, slim, inputs_of(model)) < 1e-11


class Centred(nn.Module):
    """A depthwise convolution less a statistic across its channels, beside the trunk it reads."""

    def __init__(self, statistic: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.each = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.mixed, self.plain = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
        self.statistic = statistic

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.each(x)
        return self.mixed(y - self.statistic(y)) + self.plain(x)


@pytest.mark.parametrize(
    "statistic",
    [
        lambda y: y.mean(1, keepdim=True),
        lambda y: y.max(1, keepdim=True)[0],
        lambda y: torch.var_mean(y, 1, keepdim=True)[1],
    ],
)
def test_what_is_zero_is_not_zero_less_a_statistic(statistic: Callable[[Tensor], Tensor]) -> None:
    model, x = randomised(Centred(statistic)), torch.randn(1, 1, 6, 6)
    parts = split(model, trace(model, x))
    keep = np.ones(parts.graph.units, dtype=bool)
    each = [bank.name for bank in parts.banks].index("each")
    keep[parts.numbers[each].filters[2]] = False
    structure = Reach(parts).closed(keep)
    assert verify(model, parts, structure, slimmed(model, parts, structure), (x,)) < 1e-9
