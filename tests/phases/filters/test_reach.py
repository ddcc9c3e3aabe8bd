"""Reachability of single filters: laws, plain PyTorch as an oracle, the papers' counts."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor import trace
from compressor.counting.cost import cost_of
from compressor.graph.structure import Structure, full
from compressor.phases.filters.bank import banks
from compressor.phases.filters.reach import Reach
from compressor.phases.filters.uncoupled import split
from models import BCResNet, BCResNetASC, SharedResNet
from tests.helpers.filter_nets import NETS, empty, network
from tests.helpers.tiny import Tiny, tiny
from tests.zoo import TRICKY
from tests.zoo.scaled import SCALED

SMALL = ("tiny", "tied", "residual", "bc-resnet", "bc-resnet-asc", "shared", "squeeze_excite")


def drawn(reach: Reach, seed: int, share: float) -> np.ndarray:
    return np.random.default_rng(seed).random(reach.split.graph.units) < share


@pytest.mark.parametrize("name", NETS)
def test_with_every_filter_everything_is_reached_and_costs_what_the_coupled_graph_says(
    name: str,
) -> None:
    _, parts, reach = network(name)
    whole = reach.closed(np.ones(parts.graph.units, dtype=bool))
    assert whole.keep.all()
    assert cost_of(whole) == cost_of(full(parts.coupled))
    assert not empty(reach, whole)


@pytest.mark.parametrize("name", ["packed", "apart", "convolved"])
def test_attention_whose_layers_are_no_filters_stays(name: str) -> None:
    """Of its channels, which hang on a head and on a place in it, both are written."""
    model = SCALED[name]()
    parts = split(model, trace(model))
    assert not any("attn" in bank.name for bank in parts.banks)
    assert Reach(parts).closed(np.ones(parts.graph.units, dtype=bool)).keep.all()


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(SMALL), st.integers(0, 10**6), st.floats(0.2, 0.95))
def test_killing_a_filter_never_revives_another(name: str, seed: int, share: float) -> None:
    _, parts, reach = network(name)
    keep = drawn(reach, seed, share)
    fewer = keep & drawn(reach, seed + 1, 0.9)
    more, less = reach.closed(keep), reach.closed(fewer)
    assert less <= more
    assert not (more.keep & parts.free & ~keep).any()  # nothing comes back that was killed


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(SMALL), st.integers(0, 10**6), st.floats(0.2, 0.95))
def test_what_is_closed_stays_as_it_is(name: str, seed: int, share: float) -> None:
    _, _, reach = network(name)
    once = reach.closed(drawn(reach, seed, share))
    assert reach.closed(once.keep.copy()) == once


def silent(model: nn.Module) -> nn.Module:
    """Norms and layers without shifts: zero in, zero out, so that plain masking is exact."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.bias)
            nn.init.zeros_(module.running_mean)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return model.eval()


class Broadcast(nn.Module):
    """One transition and one normal block of BC-ResNet, without its mixing norms."""

    def __init__(self) -> None:
        super().__init__()
        net = BCResNet(0.5, 3, mels=64, frames=6)
        self.stem, self.blocks = net.stem, net.stages[:2]
        self.head = nn.Conv2d(4, 3, 1, bias=False)
        self.example_input_array = torch.zeros(1, 1, 64, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x))).mean((2, 3))


@pytest.mark.parametrize("build", [Tiny, Broadcast])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_dead_changes_nothing_and_what_lives_changes_something(
    build: type[nn.Module], seed: int
) -> None:
    torch.manual_seed(seed)
    model = silent(build()).double()
    for parameter in model.parameters():
        if parameter.ndim > 1:  # positive weights: no ReLU hides a filter
            parameter.data = parameter.data.abs()
    parts = split(model, trace(model, model.example_input_array.double(), check=False))
    reach = Reach(parts)
    killed = ~drawn(reach, seed, 0.6) & parts.free
    closed = reach.closed(~killed)
    batch = torch.rand(4, *model.example_input_array.shape[1:], dtype=torch.float64) + 0.1

    def zeroed(gone: np.ndarray) -> nn.Module:
        small = copy.deepcopy(model)
        for bank, numbers in zip(parts.banks, parts.numbers, strict=True):
            rows = np.append(gone, False)[numbers.filters]
            owner = parts.coupled.weights[bank.weight].dims[0].owner
            small.get_parameter(bank.weight).data[np.append(rows, False)[owner]] = 0
        return small

    first, second = zeroed(killed), zeroed(~closed.keep & parts.free)
    assert torch.equal(first(batch), second(batch))
    first(batch).sum().backward()
    for place, (bank, numbers) in enumerate(zip(parts.banks, parts.numbers, strict=True)):
        alive = closed.keep[parts.of(place)]
        gradient = first.get_parameter(bank.weight).grad.flatten(1).abs().sum(1).numpy()
        owner = parts.coupled.weights[bank.weight].dims[0].owner
        mine = numbers.filters[owner[owner >= 0]]
        if len(alive):
            felt = gradient[owner >= 0] > 0
            assert (felt | ~closed.keep[mine]).all(), bank.weight


def test_bc_resnet_asc_8_has_the_filters_of_the_2022_report() -> None:
    model = BCResNetASC(80, mels=192)
    parts = split(model, trace(model, check=False))
    assert parts.free.sum() == 4680
    assert sum(len(parts.of(place)) > 0 for place in range(len(parts.banks))) == 32
    assert len(parts.banks) == 33
    assert len(parts.of(32)) == 0  # the class filters


def test_a_norm_belongs_to_the_filters_that_it_alone_follows() -> None:
    found = {bank.name: bank for bank in network("bc-resnet-asc")[1].banks}
    assert found["stage1.0.depthwise"].norms == ("stage1.0.norm",)
    assert found["stage1.0.temporal.depthwise"].norms == ("stage1.0.temporal.norm",)
    assert found["stage1.0.temporal.pointwise"].norms == ()
    assert found["classifier"].vectors == ("classifier.bias",)


def test_a_shared_layer_has_one_mask_and_all_its_norms() -> None:
    model = SharedResNet(4, 3, mels=32, frames=16)
    (shared,) = [
        bank
        for bank in banks(model, trace(model, check=False))
        if bank.weight == "blocks.8.conv1.0.weight"
    ]
    assert len(shared.nodes) == 3
    assert shared.norms == tuple(f"blocks.8.norm1.{repeat}" for repeat in range(3))


@pytest.mark.parametrize("name", ["shared_norm", "group_norm", "scale_parameter"])
def test_a_norm_with_other_readers_or_of_groups_belongs_to_the_trunk(name: str) -> None:
    model = TRICKY[name]().eval()
    found = banks(model, trace(model))
    assert not any(bank.norms for bank in found if "trap" in bank.name)


def test_a_depthwise_filter_falls_with_what_it_reads() -> None:
    model = tiny()
    parts = split(model, trace(model))
    reach = Reach(parts)
    keep = np.ones(parts.graph.units, dtype=bool)
    names = [bank.name for bank in parts.banks]
    keep[parts.of(names.index("stem"))[3]] = False
    closed = reach.closed(keep)
    assert not closed.keep[parts.of(names.index("depthwise"))[3]]
    assert closed.keep[parts.of(names.index("pointwise"))].all()
    assert closed.keep[: parts.coupled.units].all()  # the pointwise filter still writes the trunk
    keep[parts.of(names.index("pointwise"))[3]] = False
    closed = reach.closed(keep)
    assert closed.keep[: parts.coupled.units].sum() == parts.coupled.units - 1


def test_a_graph_that_has_lost_its_program_is_refused() -> None:
    from compressor.graph.structure import restrict  # noqa: PLC0415

    model = tiny()
    graph = trace(model)
    smaller = restrict(Structure(graph, np.arange(graph.units) > 0))
    with pytest.raises(ValueError, match="trace the smaller model anew"):
        split(model, smaller)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_a_norm_that_adds_a_number_is_not_the_filters(shift: float) -> None:
    """It would leave the number where a filter is gone."""

    class Shifted(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - its name in torch
            return super().forward(input) + shift

    model = nn.Sequential(nn.Conv2d(1, 8, 3), Shifted(8), nn.Conv2d(8, 4, 3))
    graph = trace(model, torch.randn(1, 1, 8, 8))
    assert banks(model, graph)[0].norms == (() if shift else ("1",))
