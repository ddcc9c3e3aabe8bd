"""What once passed in silence: each of these networks hid a mistake from the comparison."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import compressor
from compressor import Budget
from compressor.errors import TraceError, VerificationError
from compressor.graph.structure import Structure
from compressor.surgery.proof import verify
from compressor.tracing.modes import looks_at_mode
from compressor.tracing.tracer import trace
from compressor.tracing.trial import randomised

X = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two convolutions and a linear layer; what stands between them is the trap."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 12, 3), nn.Conv2d(12, 12, 3)
        self.head = nn.Linear(12, 5)

    def inside(self, x: Tensor) -> Tensor:
        return x

    def after(self, z: Tensor) -> object:
        return z

    def forward(self, x: Tensor) -> object:
        x = self.second(self.inside(torch.relu(self.first(x))))
        return self.after(self.head(torch.relu(x).mean((2, 3))))


class FixedSlice(Net):
    def inside(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :6] * 3, x[:, 6:]], 1)


class ClassMask(FixedSlice):
    def after(self, z: Tensor) -> object:
        mask = torch.tensor([False, False, False, False, True])
        return z.masked_fill(mask, -1e9)


class Decision(FixedSlice):
    def after(self, z: Tensor) -> object:
        return z.argmax(1)


class Constant(FixedSlice):
    def after(self, z: Tensor) -> object:
        return z * 0


@pytest.mark.parametrize("trap", [FixedSlice, ClassMask, Decision, Constant])
def test_an_output_cannot_hide_a_slice_of_fixed_size(trap: type[Net]) -> None:
    assert trace(trap(), X).frozen["first"]


class InfiniteMask(Net):
    def after(self, z: Tensor) -> object:
        return z.masked_fill(torch.tensor([False] * 4 + [True]), float("-inf"))


class Flags(Net):
    def after(self, z: Tensor) -> object:
        return {"scores": z, "flags": z > 0, "loss": z.square().mean()}


@pytest.mark.parametrize("harmless", [Net, InfiniteMask, Flags])
def test_odd_outputs_do_not_freeze_anything(harmless: type[Net]) -> None:
    graph = trace(harmless(), X)
    assert not [a for a in graph.axes if a.frozen]
    assert "first" not in graph.frozen


class Prototypes(nn.Module):
    """The second input is no batch: 20 prototypes, however many clips come in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.embed = nn.Conv2d(1, 8, 3), nn.Linear(16, 16)
        self.left, self.right = nn.Linear(8, 8), nn.Linear(16, 8)

    def forward(self, x: Tensor, prototypes: Tensor) -> Tensor:
        keys = self.right(functional.relu(self.embed(prototypes)))
        return self.left(functional.relu(self.conv(x)).mean((2, 3))) @ keys.T


def test_an_input_without_a_batch_is_counted_whole() -> None:
    model, example = Prototypes(), (X, torch.randn(20, 16))
    budget = Budget(macs=5_000)
    small = compressor.fit(model, example=example, budget=budget).model
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        small(*example)
    assert counter.get_total_flops() // 2 <= 5_000
    assert compressor.measure(small, example).macs == counter.get_total_flops() // 2


class WithHead(Net):
    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(12, 5)


class Auxiliary(WithHead):
    def inside(self, x: Tensor) -> Tensor:
        return x + self.aux(x.mean((2, 3))).mean() if self.training else x


class OtherInTraining(Net):
    def inside(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :6] * 0.5, x[:, 6:]], 1) if self.training else x


def test_a_layer_that_only_training_reads_freezes_what_it_reads() -> None:
    with pytest.warns(UserWarning, match="other operations in training"):
        graph = trace(Auxiliary(), X)
    assert "in training it does not run" in graph.frozen["first"]


def test_code_that_only_training_runs_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="OtherInTraining runs other operations in training"):
        trace(OtherInTraining(), X)


def decorated(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def called(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return called


def head_of(model: WithHead, x: Tensor) -> Tensor | int:
    return model.aux(x.mean((2, 3))).mean() if model.training else 0


class Decorated(WithHead):
    @decorated
    def inside(self, x: Tensor) -> Tensor:
        return x + self.aux(x.mean((2, 3))).mean() if self.training else x


class Nested(WithHead):
    def inside(self, x: Tensor) -> Tensor:
        def more() -> Tensor | int:
            return self.aux(x.mean((2, 3))).mean() if self.training else 0

        return x + more()


class Listed(WithHead):
    def inside(self, x: Tensor) -> Tensor:
        return x + sum(self.aux(y.mean((2, 3))).mean() for y in (x, x) if self.training)


class Helped(WithHead):
    def inside(self, x: Tensor) -> Tensor:
        return x + head_of(self, x)


class Asked(WithHead):
    def inside(self, x: Tensor) -> Tensor:
        return x + self.also(x) if getattr(self, "training") else x  # noqa: B009

    also = functools.partialmethod(lambda self, x: self.aux(x.mean((2, 3))).mean())


class WithoutGradient(WithHead):
    @torch.no_grad()
    def inside(self, x: Tensor) -> Tensor:
        return x + self.aux(x.mean((2, 3))).mean() if self.training else x


@pytest.mark.parametrize("kind", [Decorated, Nested, Listed, Helped, Asked, WithoutGradient])
def test_training_code_is_found_wherever_it_is_written(kind: type[WithHead]) -> None:
    with pytest.warns(UserWarning, match="other operations in training"):
        graph = trace(kind(), X)
    assert "in training it does not run" in graph.frozen["first"]


def test_a_model_that_ignores_its_mode_is_not_run_in_training() -> None:
    assert not looks_at_mode(Net())
    assert not looks_at_mode(nn.Sequential(nn.Conv2d(1, 2, 1), nn.Dropout(), nn.BatchNorm2d(2)))


ACROSS: dict[str, Callable[[Tensor], Tensor]] = {
    "roll": lambda x: x.roll(3, 1),
    "roll back": lambda x: x.roll((-1, 1), (-3, 2)),
    "roll flat": lambda x: x.roll(64),
    "replicate": lambda x: functional.pad(x[None], (0, 0, 0, 0, 1, 0), mode="replicate")[0][:, :12],
    "reflect": lambda x: functional.pad(x[None], (0, 0, 0, 0, 2, 1), mode="reflect")[0][:, 3:],
    "flip": lambda x: x.flip(-3),
    "rot90": lambda x: x.rot90(2, (1, 2)),
    "cumulative product": lambda x: x.cumprod(1),
    "cumulative maximum": lambda x: x.cummax(1).values,
    "logcumsumexp": lambda x: x.logcumsumexp(1),
    "sort": lambda x: x.sort(1).values,
    "argsort": lambda x: x.argsort(1).float(),
    "topk": lambda x: x.topk(12, 1).values,
    "kthvalue": lambda x: x - x.kthvalue(2, 1, keepdim=True).values,
    "median": lambda x: x - x.median(1, keepdim=True).values,
    "argmax": lambda x: x + x.argmax(1, keepdim=True),
    "maximum": lambda x: x + x.max(1, keepdim=True).indices,
    "difference": lambda x: x.diff(dim=1, prepend=x[:, :1] * 0),
    "index": lambda x: x.index_select(1, torch.arange(11, -1, -1)),
    "gather": lambda x: x.gather(1, torch.zeros_like(x).long()),
    "take along": lambda x: x.take_along_dim(torch.zeros(1, 12, 1, 1).long(), 1),
    "narrow": lambda x: x.narrow(1, 2, 4).repeat(1, 3, 1, 1),
    "step": lambda x: x[:, ::2].repeat(1, 2, 1, 1),
    "unfold": lambda x: x.unfold(1, 3, 3).amax(-1).repeat(1, 3, 1, 1),
    "shuffle": lambda x: functional.channel_shuffle(x, 3),
    "bits": lambda x: x.view(torch.int32).view(torch.float32),
    "some twice": lambda x: x.repeat_interleave(torch.arange(12) % 3, 1, output_size=12),
    "cut": lambda x: torch.cat(x.tensor_split((5,), 1)[::-1], 1),
    "renormalise": lambda x: x.renorm(2, 1, 0.5),
}


class Across(Net):
    def __init__(self, operation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.operation = operation

    def inside(self, x: Tensor) -> Tensor:
        return self.operation(x)


@pytest.mark.parametrize("name", ACROSS)
def test_what_looks_across_channels_is_held_or_right(name: str) -> None:
    model = randomised(Across(ACROSS[name]))
    graph = trace(model, X)
    free = np.flatnonzero([not axis.frozen for axis in graph.axes])
    for gone in (slice(0, 4), slice(4, 8), slice(-4, None)):
        keep = np.ones(graph.units, dtype=bool)
        for number in free:
            axis = graph.axes[number]
            units = np.arange(axis.first, axis.first + axis.size)
            keep[units[gone][: axis.size - 1]] = False
        structure = Structure(graph, keep)
        smaller = compressor.shrink(model, graph, structure)
        assert verify(model, graph, structure, smaller, X) < 1e-4


class Autocast(Net):
    def inside(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu"), torch.enable_grad():
            return torch.relu(x) * 2


class AutocastThenFloat(Net):
    def __init__(self) -> None:
        super().__init__()
        self.middle = nn.Conv2d(12, 12, 1)

    def inside(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu"):
            x = self.middle(x)
        return x.float()


class AutocastAround(Net):
    @torch.autocast("cpu", enabled=False)
    def forward(self, x: Tensor) -> object:
        return super().forward(x)


class Choice(Net):
    def inside(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda y: y * 2, lambda y: y * 1, (x,))


@pytest.mark.parametrize("kind", [Autocast, AutocastAround])
def test_channels_are_followed_through_autocast(kind: type[Net]) -> None:
    graph = trace(kind(), X)
    assert set(graph.frozen) == {"head"}
    assert (
        compressor.fit(kind(), example=X, budget=Budget(params=1_000)).report.after.params <= 1_000
    )


def test_where_autocast_hides_a_comparison_it_is_named() -> None:
    graph = trace(AutocastThenFloat(), X)
    assert "move autocast out of it" in graph.frozen["middle"]


def test_a_part_of_the_network_out_of_sight_holds_all_of_it() -> None:
    graph = trace(Choice(), X)
    assert "'cond' is opaque to the tracer" in graph.frozen["first"]
    assert "'cond' hides a part of the network" in graph.frozen["second"]
    assert not graph.axes


class Remembers(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def inside(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen = x
        return x


def test_the_original_is_left_as_it_was() -> None:
    model = Remembers()
    state = torch.get_rng_state()
    compressor.fit(model, example=X, budget=Budget(params=1_000))
    assert model.calls == 0
    assert not hasattr(model, "seen")
    assert torch.equal(state, torch.get_rng_state())
    copy.deepcopy(model)


def test_two_parameters_in_one_memory_are_refused() -> None:
    model = Net()
    model.second.bias = nn.Parameter(model.first.bias.data)
    with pytest.raises(TraceError, match=r"'first\.bias' and 'second\.bias' are two parameters"):
        trace(model, X)


def test_a_graph_of_another_model_is_refused() -> None:
    graph = trace(Net(), X)
    other = Net()
    other.head = nn.Linear(12, 20)
    with pytest.raises(ValueError, match=r"head\.weight is \(20, 12\) instead of \(5, 12\)"):
        compressor.shrink(
            other,
            graph,
            compressor.allocate(graph, [1.0] * graph.units, Budget(params=900)).structure,
        )


class Random(Net):
    def after(self, z: Tensor) -> object:
        return z + float(np.random.default_rng().normal())


def test_a_network_whose_draws_nobody_can_repeat_is_refused_unless_nobody_asks() -> None:
    with pytest.raises(VerificationError, match="other outputs each time"):
        compressor.fit(Random(), example=X, budget=Budget(params=1_000))
    result = compressor.fit(Random(), example=X, budget=Budget(params=1_000), verify=False)
    assert result.report.after.params <= 1_000
