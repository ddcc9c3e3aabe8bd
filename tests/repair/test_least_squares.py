"""A repaired network is never further from the dense one, and all else is as it was."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor.errors import TrainingError
from compressor.graph.structure import Structure, full
from compressor.inputs.batches import Batch, call
from compressor.repair.dense import Dense
from compressor.repair.layers import Forward
from compressor.repair.least_squares import (
    AS_GOOD,
    FROZEN,
    NO_MATCH,
    TOO_FEW,
    WORSE,
    Repaired,
    distance,
    repair,
)
from compressor.surgery.attention import opened
from compressor.surgery.cutting import shrink
from compressor.tracing.tracer import trace
from tests.helpers.cases import cases, some
from tests.helpers.mixed_nets import mixed
from tests.helpers.random_nets import drawn
from tests.helpers.structures import any_widths
from tests.helpers.tiny import Tied, TwoInputs, equal, scenes, tiny
from tests.repair.test_layers import TiedCoder
from tests.zoo import TRICKY

CLIPS = scenes(48).tensors[0]


def inputs_of(model: nn.Module, count: int = 24, batch: int = 8) -> list[Batch]:
    """Batches of random inputs of the kind of the model's example."""
    given = model.example_input_array
    shown = given if isinstance(given, tuple) else (given,)
    source = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count // batch):
        parts = tuple(
            torch.randn(batch, *x.shape[1:], generator=source).to(x)
            if x.is_floating_point()
            else x[:1].expand(batch, *x.shape[1:]).contiguous()
            for x in shown
        )
        found.append(parts if isinstance(given, tuple) else parts[0])
    return found


def cut(
    model: nn.Module, batches: Sequence[Batch], structure: Structure, forward: Forward = call
) -> tuple[nn.Module, Dense]:
    """What a structure leaves, and the dense side."""
    small = shrink(model, structure.graph, structure).eval()
    return small, Dense(opened(model), batches, forward)


def law(model: nn.Module, seed: int, *, batch: int = 8) -> Repaired:
    """Repair of random widths: never further off, honest about it, the dense one untouched."""
    model.eval()
    given = model.state_dict()
    before = {name: t.clone() for name, t in given.items()}
    structure = any_widths(trace(model), seed)
    small, dense = cut(model, inputs_of(model, batch=batch), structure)
    first, state = distance(small, dense), torch.get_rng_state()
    found = repair(small, dense, structure)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(t, before[name]) for name, t in given.items())
    assert found.before == pytest.approx(first, rel=1e-6) or math.isinf(first)
    assert found.after <= found.before
    assert distance(small, dense) == found.after
    assert all(p.isfinite().all() for p in small.state_dict().values() if p.is_floating_point())
    assert not set(found.layers) & set(found.left)
    return found


SEEDS = st.integers(0, 1 << 20)


@settings(deadline=None, max_examples=cases(8, 100))
@given(SEEDS)
def test_no_random_network_comes_out_further_from_the_dense_one(seed: int) -> None:
    law(drawn(seed), seed)


@settings(deadline=None, max_examples=cases(1, 100))
@given(SEEDS)
@example(1013)
def test_nor_does_one_of_attention_recurrences_and_computed_weights(seed: int) -> None:
    law(mixed(seed), seed, batch=1)


@pytest.mark.parametrize("name", some(TRICKY, 10))
def test_nor_does_a_tricky_one(name: str) -> None:
    law(TRICKY[name](), 1)


def test_most_random_networks_come_out_nearer() -> None:
    found = [law(drawn(seed), seed) for seed in range(8)]
    nearer = [one for one in found if one.after < 0.8 * one.before]
    assert len(nearer) >= 5, [(one.before, one.normed, one.after) for one in found]


def test_tied_weights_are_left_alone() -> None:
    torch.manual_seed(0)
    found = law(TiedCoder(), 2)
    assert "code.weight" not in found.layers


@pytest.mark.parametrize("build", [tiny, Tied, TwoInputs])
def test_equal_calls_give_equal_bits(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = build().eval()
    structure = any_widths(trace(model), 3)
    found = []
    for draw in range(2):
        torch.manual_seed(draw)
        small, dense = cut(model, inputs_of(model), structure)
        done = repair(small, dense, structure)
        found.append((small, done))
    assert equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_how_much_is_remembered_changes_no_bit() -> None:
    model = tiny().eval()
    structure = any_widths(trace(model), 3)
    small, dense = cut(model, list(CLIPS.split(16)), structure)
    other = copy.deepcopy(small)
    repair(small, dense, structure)
    repair(other, Dense(opened(model), list(CLIPS.split(16)), call, memory=0), structure)
    assert equal(small, other)


def test_a_network_that_lost_nothing_stays_as_it_is() -> None:
    model = tiny().eval()
    graph = trace(model)
    structure = Structure(graph, any_widths(graph, 0).keep | True)
    small, dense = cut(model, list(CLIPS.split(16)), structure)
    found = repair(small, dense, structure)
    assert (found.before, found.after) == (0, 0)
    assert equal(small, model)
    assert not found.layers


def test_modes_and_flags_are_kept_and_every_layer_is_told() -> None:
    model = tiny(dropout=0.5).train()
    structure = any_widths(trace(model), 3)
    small, dense = cut(model, list(CLIPS.split(16)), structure)
    small.train()
    small.norm.eval()
    modes = [module.training for module in small.modules()]
    told: list[str] = []
    repair(small, dense, structure, watch=told.append)
    assert [module.training for module in small.modules()] == modes
    names = ["stem", "depthwise", "pointwise", "down", "head"]
    assert told == [f"{name}.weight" for name in names]
    assert all(p.requires_grad and p.grad is None for p in small.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in small.modules())


def test_frozen_layers_are_left_and_said_to_be() -> None:
    model = tiny().eval()
    structure = any_widths(trace(model), 3)
    small, dense = cut(model, list(CLIPS.split(16)), structure)
    small.down.weight.requires_grad_(False)  # noqa: FBT003
    weight = small.down.weight.clone()
    found = repair(small, dense, structure)
    assert torch.equal(small.down.weight, weight)
    assert found.left["down.weight"] == FROZEN
    assert found.after < found.before


def test_a_network_of_frozen_parameters_alone_follows_with_its_norms() -> None:
    model = tiny().eval()
    structure = any_widths(trace(model), 3)
    small, dense = cut(model, list(CLIPS.split(16)), structure)
    small.requires_grad_(False)  # noqa: FBT003
    before = [p.clone() for p in small.parameters()]
    found = repair(small, dense, structure)
    assert all(torch.equal(p, q) for p, q in zip(before, small.parameters(), strict=True))
    assert set(found.left.values()) == {FROZEN}
    assert found.after == found.normed <= found.before


def test_masks_hold() -> None:
    model, small = tiny().eval(), tiny().eval()
    graph = trace(model)
    structure = Structure(graph, any_widths(graph, 0).keep | True)
    source = torch.Generator().manual_seed(0)
    masks = {
        name: torch.rand(p.shape, generator=source) < 0.4
        for name, p in small.named_parameters()
        if p.ndim > 1
    }
    with torch.no_grad():
        for name, mask in masks.items():
            small.get_parameter(name).mul_(mask)
    found = repair(small, Dense(model, list(CLIPS.split(16)), call), structure, masks=masks)
    assert found.after < found.before / 2
    for name, mask in masks.items():
        assert not small.get_parameter(name)[~mask].any()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_inputs_do_no_harm(count: int) -> None:
    model = tiny().eval()
    structure = any_widths(trace(model), 3)
    for batch in {1, count}:
        small, dense = cut(model, list(CLIPS[:count].split(batch)), structure)
        found = repair(small, dense, structure)
        assert found.after <= found.before
        assert found.left["head.weight"] in {TOO_FEW, WORSE} or "head.weight" in found.few


def test_layers_with_fewer_rows_than_unknowns_are_told() -> None:
    model = tiny().eval()
    structure = any_widths(trace(model), 3)
    small, dense = cut(model, list(CLIPS[:8].split(4)), structure)
    found = repair(small, dense, structure)
    entries = small.head.in_features
    assert entries > 8
    assert found.few == {"head.weight": 8} or found.left["head.weight"] in {TOO_FEW, WORSE}
    many, dense = cut(model, list(CLIPS.split(16)), structure)
    assert not repair(many, dense, structure).few


def constant(x: Tensor) -> Tensor:
    return torch.full_like(x, 0.3)


def spoilt(x: Tensor) -> Tensor:
    return torch.cat([x[:-1], torch.full_like(x[-1:], math.nan)])


@pytest.mark.parametrize("change", [constant, torch.zeros_like])
def test_constant_inputs_end_in_finite_weights(change: Callable[[Tensor], Tensor]) -> None:
    model = tiny().eval()
    structure = any_widths(trace(model), 3)
    small, dense = cut(model, [change(x) for x in CLIPS.split(16)], structure)
    found = repair(small, dense, structure)
    assert all(t.isfinite().all() for t in small.state_dict().values())
    assert found.after <= found.before


def test_data_that_are_spoilt_are_an_error_that_names_batch_and_layer() -> None:
    model = tiny().eval()
    structure = any_widths(trace(model), 3)
    small, dense = cut(model, [CLIPS[:16], spoilt(CLIPS[16:32])], structure)
    with pytest.raises(TrainingError, match=r"on batch 2 of the data that repair goes by.*'stem'"):
        repair(small, dense, structure)


def test_a_layer_of_nan_spoils_no_other() -> None:
    class Guarded(nn.Module):
        """A branch that is NaN, and is not used where it is."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.side = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 2, 1)
            self.head = nn.Linear(6, 4)
            self.example_input_array = torch.zeros(1, 1, 8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x).relu()
            side = self.side(x * math.nan).nan_to_num(0.0).mean((1, 2, 3))
            return self.head(x.mean((2, 3))) + side[:, None]

    torch.manual_seed(0)
    model = Guarded().eval()
    structure = any_widths(trace(model, check=False), 2)
    small, dense = cut(model, list(CLIPS.split(16)), structure)
    found = repair(small, dense, structure)
    assert found.left["side.weight"] == NO_MATCH
    assert "head.weight" in found.layers


def test_losses_that_run_a_part_of_the_model_alone_leave_it_as_it_is() -> None:
    """Nothing that the model returns is seen, so that nothing shows that it would be better."""

    def part(model: nn.Module, batch: Tensor) -> Tensor:
        return model.stem(batch).sum()

    model = tiny().eval()
    structure = any_widths(trace(model), 3)
    small, dense = cut(model, list(CLIPS.split(16)), structure, part)
    before = copy.deepcopy(small)
    found = repair(small, dense, structure)
    assert math.isinf(found.after)
    assert equal(small, before)


def test_what_did_not_help_is_said_to_be_left() -> None:
    """Outputs on which all layers are equal before and after: noise alone."""
    seen: set[str] = set()
    for seed in range(6):
        found = law(drawn(seed), seed)
        seen |= set(found.left.values())
    assert seen <= {AS_GOOD, WORSE, NO_MATCH, FROZEN, TOO_FEW}


def test_a_repair_is_written_and_read_as_plain_data() -> None:
    found = law(tiny(), 3)
    plain = json.loads(json.dumps(asdict(found)))
    assert Repaired.of(plain) == found


class Skipped(nn.Module):
    """A sum of a wide convolution and of two narrow ones in a row, and a rectifier."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1)
        self.wide, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 5)
        self.example_input_array = torch.zeros(1, 3, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        found = torch.relu(self.norm(self.wide(x)) + self.up(self.down(x)))
        return self.head(found.mean((2, 3)))


@pytest.mark.parametrize("norm", ["followed", "flat"])
def test_what_a_skip_loses_the_layer_that_it_is_added_to_says_exactly(norm: str) -> None:
    """Channels of the skip that are gone are linear in what the wide convolution reads."""
    torch.manual_seed(0)
    model = Skipped().eval()
    with torch.no_grad():
        model.norm.running_var.uniform_(0.5, 2)
        model.norm.weight.uniform_(-2, 2)
        if norm == "flat":  # of one channel the scale says nothing: its sum cannot be put right
            model.norm.weight[0] = 0
    graph = trace(model)
    axis = next(axis for axis in graph.axes if axis.size == 4 and not axis.frozen)
    keep = full(graph).keep.copy()
    keep[axis.units][:2] = False
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    small, dense = cut(model, list(x.split(16)), Structure(graph, keep))
    found = repair(small, dense, Structure(graph, keep))
    exact = found.after < 1e-6 * found.before
    assert exact == (norm == "followed")
    assert found.after < found.normed
