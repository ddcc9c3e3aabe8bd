"""Results that depend on no input: which they are, and that holding them changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compressor.network import Network, Ref, to_network
from compressor.network.constants import constant, with_constants


class Computed(nn.Module):
    """Views of a buffer and of a parameter, a table made anew, and a size of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.constants = nn.Linear(6, 3)  # the name of the branch that holds them
        self.scale = nn.Parameter(torch.linspace(-1, 1, 12).reshape(2, 6))
        self.register_buffer("mask", torch.arange(6) > 2)
        self.example_input_array = torch.zeros(1, 4, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x * self.scale[1:].permute(1, 0).reshape(1, 1, 6) + self.mask.float()
        ramp = torch.arange(6) / 6
        gain = torch.sigmoid(self.scale[:1]).expand(x.shape[0], 6).unsqueeze(1)
        return self.constants(x * ramp * gain), self.scale.sum(1)


def test_what_is_held_computes_the_same_with_fewer_steps() -> None:
    whole = to_network(Computed()).eval()
    held = with_constants(whole)
    x = torch.randn(1, 4, 6)
    for one, other in zip(whole(x), held(x), strict=True):
        assert torch.equal(one, other)
    assert len(held.steps) == 5  # two products and two more operands, and the layer
    assert all(set(step.refs) & {"x", *(s.name for s in held.steps)} for step in held.steps)
    assert set(whole.state_dict()) >= set(held.state_dict())


def test_nothing_to_hold_leaves_the_network_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    whole = to_network(net, torch.zeros(1, 1, 5, 5)).eval()
    assert with_constants(whole) is whole


class Drawn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("chance", torch.full((4,), 0.5))
        self.example_input_array = torch.zeros(1, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.bernoulli(self.chance)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))
        self.example_input_array = torch.zeros(1, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.seen.add_(1)


@pytest.mark.parametrize(("model", "kind"), [(Drawn(), "bernoulli"), (Counting(), "add_")])
def test_what_is_another_one_every_time_is_no_constant(model: nn.Module, kind: str) -> None:
    whole: Network = to_network(model).eval()
    name = next(step.name for step in whole.steps if kind in str(step.op))
    assert constant(whole, Ref(name)) is None
    assert name in [step.name for step in with_constants(whole).steps]
