"""What once passed in silence: each of these networks hid a mistake from the comparison."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import compressor
from compressor import Budget
from compressor.errors import TraceError, VerificationError
from compressor.trace import trace

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


class Auxiliary(Net):
    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(12, 5)

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
        return functional.dropout(z, 0.5, training=True)


def test_a_random_network_is_refused_unless_nobody_asks() -> None:
    with pytest.raises(VerificationError, match="other outputs each time"):
        compressor.fit(Random(), example=X, budget=Budget(params=1_000))
    result = compressor.fit(Random(), example=X, budget=Budget(params=1_000), verify=False)
    assert result.report.after.params <= 1_000
