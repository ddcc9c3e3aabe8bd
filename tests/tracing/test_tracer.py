"""Any network becomes axes; whatever is removed, cost is exact and outputs are the masked ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from compressor.counting.measuring import measure
from compressor.errors import TraceError, VerificationError
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure, restrict
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify
from compressor.tracing.tracer import trace
from compressor.tracing.trial import randomised
from tests.helpers.cases import some
from tests.zoo import FAMILIES, TRICKY

FROZEN = {
    "shuffle_constants",
    "split_constants",
    "slice_constant",
    "select_channels",
    "view_constant",
    "roll_channels",
    "roll_everything",
    "circular_channels",
    "each_twice",
    "channels_as_space",
    "local_response_norm",
    "experts",
    "spatial_transformer",
    "numbered_silence",
    "in_sixes",
}
"""Networks whose trap cannot be proven safe: the layer in front of it must stay whole."""

SLOW = {"vgg11_bn"}


def random_structure(graph: Graph, seed: int) -> Structure:
    random = np.random.default_rng(seed)
    keep = np.ones(graph.units, dtype=bool)
    for axis in graph.axes:
        if not axis.frozen:
            width = random.integers(1, axis.size + 1)
            keep[axis.first + random.permutation(axis.size)[width:]] = False
    return Structure(graph, keep)


def check(model: nn.Module, seeds: range) -> Graph:
    """The laws that hold for every network and every structure."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = trace(model)
    dense = measure(model)
    assert graph.params(graph.sizes) == dense.params
    assert graph.macs(graph.sizes) == dense.macs
    assert graph.bytes(graph.sizes) == dense.bytes
    for seed in seeds:
        structure = random_structure(graph, seed)
        smaller = shrink(model, graph, structure)
        assert verify(model, graph, structure, smaller) <= 1e-4
        cost = measure(smaller)
        assert cost.params == graph.params(structure.widths)
        assert cost.macs == graph.macs(structure.widths)
        assert cost.bytes == graph.bytes(structure.widths)
        rest = restrict(structure)
        assert rest.macs(rest.sizes) == cost.macs
        assert rest.params(rest.sizes) == cost.params
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    return graph


@pytest.mark.parametrize("name", TRICKY)
def test_tricky_networks(name: str) -> None:
    graph = check(randomised(TRICKY[name]()), range(1))
    reasons = [reason for reason in graph.frozen.values() if "output" not in reason]
    if name in FROZEN:
        assert reasons
    else:
        assert any(not axis.frozen for axis in graph.axes)
        assert not any("breaks the forward" in reason for reason in reasons)


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("name", some(TRICKY, 5))
def test_more_structures_of_tricky_networks(name: str) -> None:
    check(randomised(TRICKY[name]()), range(1, 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(FAMILIES) - SLOW))
def test_families(name: str) -> None:
    graph = check(randomised(FAMILIES[name]()), range(1))
    free = [axis for axis in graph.axes if not axis.frozen]
    assert free
    smallest = np.array([axis.size if axis.frozen else 1 for axis in graph.axes])
    assert graph.macs(smallest) < 0.5 * graph.macs(graph.sizes)


def test_verification_sees_one_wrong_channel() -> None:
    model = TRICKY["residual_sum"]()
    graph = trace(model)
    structure = random_structure(graph, 0)
    smaller = shrink(model, graph, structure)
    with torch.no_grad():
        weight = next(w for w in smaller.parameters() if w.ndim == 4 and w.shape[0] > 1)
        weight[[0, 1]] = weight[[1, 0]]
    with pytest.raises(VerificationError, match="differ by"):
        verify(model, graph, structure, smaller)


def test_mode_dtype_and_flags_survive() -> None:
    model = TRICKY["squeeze_excite"]().double()
    model.train()
    next(model.modules()).eval()
    next(model.parameters()).requires_grad_(requires_grad=False)
    flags = [module.training for module in model.modules()]
    graph = trace(model, model.example_input_array.double())
    smaller = shrink(model, graph, random_structure(graph, 1))
    assert [module.training for module in model.modules()] == flags
    assert [module.training for module in smaller.modules()] == flags
    assert not next(smaller.parameters()).requires_grad
    assert all(p.dtype == torch.float64 for p in smaller.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in smaller.modules())


def test_tied_parameters_stay_tied() -> None:
    model = TRICKY["tied_parameter"]()
    graph = trace(model)
    smaller = shrink(model, graph, random_structure(graph, 2))

    def distinct(net: nn.Module) -> int:
        return len({id(p) for _, p in net.named_parameters(remove_duplicate=False)})

    assert distinct(smaller) == distinct(model)


def test_every_holder_of_a_tied_weight_knows_its_size() -> None:
    for name in ("tied_parameter", "tied_depthwise"):
        model = TRICKY[name]()
        graph = trace(model)
        structure = random_structure(graph, 2)
        trap = shrink(model, graph, structure).trap
        assert trap.first.weight is trap.second.weight
        assert trap.first.weight.shape[0] < 16
        for conv in (trap.first, trap.second):
            assert conv.out_channels == conv.weight.shape[0]
            assert conv.in_channels == conv.weight.shape[1] * conv.groups


class Uneven(nn.Module):
    """One Parameter of shape (8, 4, 1, 1): in two groups of 8 channels, and in one of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.narrow = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 4, 1)
        self.two = nn.Conv2d(8, 8, 1, groups=2, bias=False)
        self.one = nn.Conv2d(4, 8, 1, bias=False)
        self.one.weight = self.two.weight
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.one(self.narrow(self.two(self.stem(x)).relu())))


def test_a_weight_tied_across_different_groups_leaves_each_layer_its_own() -> None:
    model, example = randomised(Uneven()), torch.randn(1, 1, 4, 4)
    graph = trace(model, example)
    assert set(graph.frozen) == {"head"}
    structure = random_structure(graph, 1)
    small = shrink(model, graph, structure)
    assert verify(model, graph, structure, small, example) <= 1e-4
    assert small.two.weight is small.one.weight
    assert (small.two.groups, small.one.groups) == (2, 1)
    assert small.two.in_channels == 2 * small.one.in_channels < 8


@pytest.mark.parametrize(
    "name",
    [
        "squeeze_excite_expand_as",
        "mask_expand_as",
        "view_as",
        "reshape_as",
        "roll_time",
        "constant_channels",
        "without_autocast",
        "tied_depthwise",
    ],
)
def test_nothing_but_the_last_layer_stays_whole(name: str) -> None:
    assert set(trace(TRICKY[name]()).frozen) == {"classifier"}


def with_an_unused_layer() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 3))
    net[1].spare = nn.Linear(30, 30)
    return net


def test_a_layer_that_nobody_uses_stays_whole_and_says_so() -> None:
    graph = trace(with_an_unused_layer(), torch.randn(1, 3, 16, 16))
    assert "it is not used in forward" in graph.frozen["1.spare"]


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, 4, 3), Picky())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


class Picky(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_a_model_that_does_not_export_names_the_module() -> None:
    with pytest.raises(TraceError, match=r"'inner\.1' \(Picky\)"):
        trace(Branches(), torch.randn(1, 1, 8, 8))


def test_a_missing_example_says_what_to_pass() -> None:
    with pytest.raises(ValueError, match="example_input_array"):
        trace(nn.Conv2d(1, 2, 3))


@pytest.mark.parametrize("build", [TRICKY["shared_conv"], TRICKY["conv_transpose_grouped"]])
def test_batch_size_of_the_example_does_not_matter(build: Callable[[], nn.Module]) -> None:
    model = build()
    example = model.example_input_array
    wide = trace(model, example.expand(3, *example.shape[1:]))
    assert wide.macs(wide.sizes) == trace(model).macs(wide.sizes)


def test_keep_freezes_the_axis_of_a_layer_and_of_a_module() -> None:
    model = TRICKY["residual_projection"]()
    free = trace(model)
    layer = free.axes[1].layers[-1]
    kept = trace(model, keep=[layer])
    assert [a.name for a in kept.axes if a.frozen] == [free.axes[1].name]
    assert kept.frozen[layer] == "asked for by keep="
    everything = trace(model, keep=["stem", "trap", "tail"])
    assert all(axis.frozen for axis in everything.axes)


def test_keep_with_an_unknown_name_lists_close_ones() -> None:
    with pytest.raises(ValueError, match=r"closest names are 'stem\.0'"):
        trace(TRICKY["residual_sum"](), keep=["stem.O"])
