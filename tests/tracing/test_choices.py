"""Groups, views, cuts and paddings of channels in any order: units remain, and masked = shrunk."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.graph import Graph
from compressor.tracing.tracer import trace
from tests.tracing.test_walk_across import follows
from tests.zoo.layers import Apply
from tests.zoo.shuffle import channel_shuffle

X = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def between(*layers: nn.Module, width: int = 32, out: int | None = None) -> nn.Sequential:
    """A convolution to `width` channels, the layers, a convolution from `out`, a head."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        *layers,
        nn.Conv2d(out or width, 6, 3),
        nn.LeakyReLU(0.3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def units(graph: Graph, weight: str = "0.weight") -> int:
    """How many units a layer's outputs are made of, of which some can go."""
    owner = graph.weights[weight].dims[0].owner
    free = {n for n, axis in enumerate(graph.axes) if not axis.frozen and axis.size > 1}
    return len({int(u) for u in owner if u >= 0 and int(graph.axis_of[u]) in free})


def grouped(groups: int, width: int = 64) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1, groups=groups)


GROUPS: dict[str, tuple[Callable[[], list[nn.Module]], int]] = {
    "norm before": (lambda: [nn.GroupNorm(16, 64), grouped(8)], 8),
    "norm after": (lambda: [grouped(8), nn.GroupNorm(16, 64)], 8),
    "both": (lambda: [nn.GroupNorm(16, 64), nn.PReLU(64), grouped(8), nn.GroupNorm(4, 64)], 4),
    "as many": (lambda: [grouped(32), nn.GroupNorm(32, 64), grouped(32)], 32),
    "small groups": (lambda: [nn.GroupNorm(32, 64)], 32),
    "large groups": (lambda: [nn.GroupNorm(2, 64), grouped(32)], 16),
    "one norm": (lambda: [nn.GroupNorm(1, 64), grouped(4)], 16),
    "a norm a channel": (lambda: [nn.GroupNorm(64, 64), nn.InstanceNorm2d(64, affine=True)], 64),
    "depthwise": (lambda: [nn.GroupNorm(8, 64), grouped(64), nn.GroupNorm(4, 64)], 8),
    "instance norm": (lambda: [grouped(8), nn.InstanceNorm2d(64), nn.GroupNorm(8, 64)], 8),
    "module shuffle": (lambda: [nn.ChannelShuffle(4), grouped(4), nn.GroupNorm(4, 64)], 4),
}


@pytest.mark.parametrize("name", GROUPS)
def test_norms_and_convolutions_in_groups_leave_units(name: str) -> None:
    build, least = GROUPS[name]
    graph = follows(between(*build(), width=64), X)
    assert units(graph) >= least
    assert not any("breaks the forward" in reason for reason in graph.frozen.values())


def test_a_norm_that_is_told_its_groups_by_a_number() -> None:
    told = Apply(lambda x: functional.group_norm(x, 8))
    assert units(follows(between(told), X)) == 4


def shuffled_by_last(x: Tensor) -> Tensor:
    """A channel shuffle in groups of two, told by the size of a group."""
    b, c, h, w = x.shape
    return x.view(b, c // 2, 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def blocks(x: Tensor) -> Tensor:
    """A shuffle of pixels by views."""
    b, c, h, w = x.shape
    x = x.view(b, c // 16, 4, 4, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(b, c // 16, 4 * h, 4 * w)


def patches(x: Tensor) -> Tensor:
    """Patches of 4 x 4 pixels as channels."""
    b, c, h, w = x.shape
    x = x.view(b, c, h // 4, 4, w // 4, 4).permute(0, 1, 3, 5, 2, 4)
    return x.reshape(b, c * 16, h // 4, w // 4)


def bands(x: Tensor) -> Tensor:
    """Four bands of the rows in front of the channels, normalised, and back."""
    b, c, h, w = x.shape
    y = x.view(b, c, 4, h // 4, w).transpose(1, 2).reshape(b, 4 * c, h // 4, w)
    y = functional.instance_norm(y)
    return y.view(b, 4, c, h // 4, w).transpose(1, 2).reshape(b, c, h, w)


VIEWS: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {
    "pixel shuffle": (lambda x: functional.pixel_shuffle(x, 4), 2, 2),
    "pixel shuffle by 2": (lambda x: functional.pixel_shuffle(x, 2), 8, 8),
    "pixel unshuffle": (lambda x: functional.pixel_unshuffle(x, 4), 512, 32),
    "pixel shuffle by views": (blocks, 2, 2),
    "shuffle in 8 groups": (lambda x: channel_shuffle(x, 8), 32, 4),
    "shuffle in 16 groups": (lambda x: channel_shuffle(x, 16), 32, 2),
    "shuffle in pairs": (shuffled_by_last, 32, 16),
    "patches": (patches, 512, 32),
    "bands": (bands, 32, 32),
    "largest of two": (lambda x: x.unflatten(1, (-1, 2)).amax(2), 16, 16),
    "sum of halves": (lambda x: x.unflatten(1, (2, -1)).sum(1), 16, 16),
}


@pytest.mark.parametrize("size", [4, 32])
@pytest.mark.parametrize("name", VIEWS)
def test_a_view_leaves_the_same_units_at_any_size(name: str, size: int) -> None:
    view, out, left = VIEWS[name]
    if size == 4 and name in ("pixel unshuffle", "patches"):
        size = 12
    graph = follows(between(Apply(view), out=out), torch.randn(1, 1, size, size), 1)
    assert units(graph) == left


def beside(few: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Some channels, doubled, beside all of them."""
    return lambda x: torch.cat([x, 2 * few(x)], 1)


CUTS: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {
    "first 8": (lambda x: x[:, :8], 8, 24),
    "all but 8": (lambda x: x[:, 8:], 24, 24),
    "last 8": (lambda x: x[:, -8:], 8, 24),
    "but the last 8": (lambda x: x[:, :-8], 24, 24),
    "middle": (lambda x: x[:, 2:-2], 28, 28),
    "first half": (lambda x: x[:, : x.shape[1] // 2], 16, 16),
    "a quarter": (lambda x: x[:, : x.shape[1] // 4], 8, 8),
    "narrow": (lambda x: x.narrow(1, 4, 8), 8, 20),
    "select": (lambda x: x[:, 3][:, None], 1, 28),
    "select the last": (lambda x: x[:, -1][:, None], 1, 31),
    "every second": (lambda x: x[:, ::2], 16, 16),
    "one of two": (lambda x: x[:, 1::2], 16, 16),
    "three chunks": (lambda x: x.chunk(3, 1)[0], 11, 10),
    "three parts": (lambda x: x.tensor_split(3, 1)[2], 10, 10),
    "seven parts": (lambda x: x.tensor_split(7, 1)[0], 5, 4),
    "at 8 and 20": (lambda x: x.tensor_split((8, 20), 1)[2], 12, 12),
    "a quarter and the rest": (
        lambda x: x.split([x.shape[1] // 4, x.shape[1] - x.shape[1] // 4], 1)[1],
        24,
        8,
    ),
    "in quarters": (lambda x: x.split(x.shape[1] // 4, 1)[3], 8, 8),
    "of 8": (lambda x: x.split(8, 1)[1], 8, 7),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_holds_what_it_counts(name: str) -> None:
    cut, out, left = CUTS[name]
    graph = follows(between(Apply(beside(cut)), out=32 + out), X)
    assert units(graph) >= left


HELD: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "8 and 24": (lambda x: x.split([8, 24], 1)[0], 8),
    "unbind": (lambda x: torch.stack(x.unbind(1), 1), 32),
}


@pytest.mark.parametrize("name", HELD)
def test_a_split_by_numbers_holds_the_layer_and_says_why(name: str) -> None:
    cut, out = HELD[name]
    graph = follows(between(Apply(cut), out=out), X, 1)
    assert units(graph) == 0
    assert "0" in graph.frozen


class Meeting(nn.Module):
    """Two convolutions side by side, cut apart where they meet."""

    def __init__(self, few: int = 8, *, told: bool = False) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, few, 3), nn.Conv2d(1, 24, 3)
        self.c, self.d = nn.Conv2d(few, 5, 3), nn.Conv2d(24, 5, 3)
        self.told = [few, 24] if told else None

    def forward(self, x: Tensor) -> Tensor:
        both = torch.relu(torch.cat([self.a(x), self.b(x)], 1))
        left, right = both.split(self.told or [self.a.out_channels, self.b.out_channels], 1)
        return (self.c(left) + self.d(right)).mean((2, 3))


def test_a_split_where_two_layers_meet_ties_nothing() -> None:
    graph = follows(Meeting(), X)
    assert (units(graph, "a.weight"), units(graph, "b.weight")) == (8, 24)
    told = follows(Meeting(told=True), X)
    assert (units(told, "a.weight"), units(told, "b.weight")) == (8, 24)


class Widening(nn.Module):
    """A residual block that doubles the channels, its shortcut padded with zeros."""

    def __init__(self, pad: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3, 2, 1)
        self.tail, self.head, self.pad = nn.Conv2d(32, 8, 1), nn.Linear(8, 3), pad

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = self.wide(x)
        y = torch.relu(y + self.pad(x[:, :, ::2, ::2], y))
        return self.head(torch.relu(self.tail(y)).mean((2, 3)))


PADS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "written": (lambda x, _: functional.pad(x, (0, 0, 0, 0, 8, 8)), 16),
    "after": (lambda x, y: functional.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])), 32),
    "before": (lambda x, y: functional.pad(x, (0, 0, 0, 0, y.shape[1] - x.shape[1], 0)), 32),
    "both": (
        lambda x, y: functional.pad(x, (0, 0, 0, 0, *2 * [(y.shape[1] - x.shape[1]) // 2])),
        24,
    ),
    "ones": (
        lambda x, y: functional.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]), value=1.0),
        32,
    ),
    "joined": (lambda x, _: torch.cat([x, torch.zeros_like(x)], 1), 16),
    "made": (
        lambda x, _: torch.cat([x, x.new_zeros(1, 16, 3, 3).expand(len(x), -1, -1, -1)], 1),
        16,
    ),
}


@pytest.mark.parametrize("name", PADS)
def test_padded_channels_are_free_where_they_are_computed(name: str) -> None:
    pad, left = PADS[name]
    graph = follows(Widening(pad), X)
    assert units(graph, "stem.weight") == 16
    assert units(graph, "wide.weight") == left


def random_layers(random: np.random.Generator) -> tuple[list[nn.Module], int]:
    """Two to four random layers that group, shuffle, cut or pad 32 channels."""
    layers: list[nn.Module] = []
    width = 32
    for _ in range(int(random.integers(2, 5))):
        kind = int(random.integers(0, 9))
        groups = int(2 ** random.integers(1, 5))
        if kind == 0 and width % groups == 0:
            layers.append(nn.GroupNorm(groups, width))
        elif kind == 1 and width % groups == 0:
            layers.append(nn.Conv2d(width, 32, 1, groups=groups))
            width = 32
        elif kind == 2 and width % groups == 0:
            layers.append(Apply(lambda x, g=groups: channel_shuffle(x, g)))
        elif kind == 3 and width % groups == 0:
            layers.append(nn.ChannelShuffle(groups))
        elif kind == 4 and width > 8:
            layers.append(Apply(lambda x: x[:, 4:]))
            width -= 4
        elif kind == 5 and width % 2 == 0 and width > 8:
            layers.append(Apply(lambda x: torch.maximum(*x.chunk(2, 1))))
            width //= 2
        elif kind == 6:
            layers.append(Apply(lambda x: functional.pad(x, (0, 0, 0, 0, 0, 4))))
            width += 4
        elif kind == 7 and width % 4 == 0:
            layers.append(Apply(lambda x: functional.pixel_shuffle(x, 2)))
            width //= 4
            layers.append(nn.Conv2d(width, 32, 1))
            width = 32
        else:
            layers.append(nn.InstanceNorm2d(width, affine=True))
    return layers, width


def random_network(seed: int) -> nn.Sequential:
    layers, width = random_layers(np.random.default_rng(seed))
    return between(*layers, out=width)


@pytest.mark.parametrize("seed", range(4))
def test_any_combination(seed: int) -> None:
    follows(random_network(seed), X, 1)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(4, 44, 10))
def test_more_combinations(first: int) -> None:
    for seed in range(first, first + 10):
        follows(random_network(seed), X, 2)


def test_without_a_check_the_first_reading_is_taken() -> None:
    graph = trace(between(Apply(lambda x: x[:, :8]), out=8), X, check=False)
    assert units(graph) == 8
