"""What becomes of outputs is told as the network's own arithmetic has it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.inputs.batches import call
from compressor.repair.course import Course
from compressor.repair.layers import Layer, all_of

X = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """A convolution, a norm, and whatever is done with them and the input."""

    def __init__(self, end: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.end = end
        with torch.no_grad():
            for value in (self.norm.weight, self.norm.bias, self.norm.running_mean):
                value.uniform_(0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.norm(self.conv(x)), x)


class Two(nn.Module):
    """The sum of two convolutions, the larger one first or last."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.large, self.little = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        if self.last:
            return self.little(x) + self.large(x)
        return self.large(x) + self.little(x)


def layers(model: nn.Module) -> dict[str, Layer]:
    return {one.key[0]: one for one in all_of(model.eval(), X, call).order}


def course(end: Callable[[Tensor, Tensor], Tensor]) -> Course:
    (found,) = layers(Block(end))["conv.weight"].courses
    return found


def in_place(y: Tensor, x: Tensor) -> Tensor:
    y += x
    return functional.relu(y, inplace=True)


@pytest.mark.parametrize(
    ("end", "added", "low", "high"),
    [
        (lambda y, _: y, False, -math.inf, math.inf),
        (lambda y, _: torch.relu(y), False, 0.0, math.inf),
        (lambda y, _: functional.relu6(y), False, 0.0, 6.0),
        (lambda y, _: y.clamp(-1, 2), False, -1.0, 2.0),
        (lambda y, _: y.clamp(max=2), False, -math.inf, 2.0),
        (lambda y, _: functional.hardtanh(y), False, -1.0, 1.0),
        (lambda y, x: torch.relu(y + x), True, 0.0, math.inf),
        (lambda y, x: torch.relu(x + y), True, 0.0, math.inf),
        (in_place, True, 0.0, math.inf),
        (lambda y, x: y + x, True, -math.inf, math.inf),
    ],
)
def test_the_course_says_what_is_done(
    end: Callable[[Tensor, Tensor], Tensor], *, added: bool, low: float, high: float
) -> None:
    model = Block(end).eval()
    (found,) = layers(model)["conv.weight"].courses
    assert (found.norm, found.added, found.low, found.high) == ("norm", added, low, high)
    assert found.scale is not None
    assert found.shift is not None
    with torch.no_grad():
        y = model.conv(X) * found.scale[:, None, None] + found.shift[:, None, None]
        mine = (y + X * added).clamp(low, high)
        torch.testing.assert_close(mine, model(X.clone()))


@pytest.mark.parametrize(
    "end",
    [
        lambda y, _: torch.relu(y) + y.sigmoid(),
        lambda y, _: y.sigmoid() + torch.relu(y),
        lambda y, x: torch.relu(y.flatten(1)) + x.flatten(1),
        lambda y, _: functional.silu(y),
        lambda y, x: y + 2 * x.mean(),
        lambda y, x: torch.add(y, x, alpha=2),
    ],
)
def test_what_others_read_too_or_what_is_not_known_is_left_out(
    end: Callable[[Tensor, Tensor], Tensor],
) -> None:
    found = course(end)
    assert not found.added
    assert not found.rectified


def test_a_trunk_that_goes_on_is_put_right_and_never_taken_for_rectified() -> None:
    def before_activation(y: Tensor, x: Tensor) -> Tensor:
        trunk = y + x
        return torch.relu(trunk) + trunk

    found = course(before_activation)
    assert found.added
    assert not found.rectified


def test_nothing_is_added_that_depends_on_the_layer_itself() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            return y + self.second(y)

    found = layers(Twice())
    assert not found["first.weight"].courses[0].added
    assert found["second.weight"].courses[0].rest == {("first.weight", 0)}


@pytest.mark.parametrize("last", [True, False])
def test_of_two_operands_the_larger_layer_makes_up_and_comes_after(*, last: bool) -> None:
    found = layers(Two(last=last))
    assert list(found) == ["little.weight", "large.weight"]
    little, large = found.values()
    assert (little.courses[0].added, little.courses[0].summed) == (False, True)
    assert large.courses[0].rest == {("little.weight", 0)}
    assert large.rests == {("little.weight", 0)}


def test_a_layer_that_waits_is_waited_for_by_those_that_read_it() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.two, self.head = Two(last=False), nn.Conv2d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.two(x)))

    assert list(layers(Net())) == ["two.little.weight", "two.large.weight", "head.weight"]


def test_norms_know_the_layers_before_them() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Block(lambda y, _: y), Block(torch.add)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.relu(self.first(x)))

    found = all_of(Net().eval(), X, call).norms
    assert found["first.norm"] == {("first.conv.weight", 0)}
    assert found["second.norm"] == {("first.conv.weight", 0), ("second.conv.weight", 0)}
