"""Random small networks of blocks in which the filters of one layer depend on those of others."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.tracing.trial import randomised
from tests.helpers.tiny import CLASSES


class Excite(nn.Module):
    """A gate per channel, of all channels."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Depthwise(nn.Module):
    """A filter or two for every channel, a normalisation, and a mixture."""

    def __init__(self, width: int, out: int, times: int) -> None:
        super().__init__()
        self.each = nn.Conv2d(width, width * times, 3, padding=1, groups=width)
        self.norm = nn.BatchNorm2d(width * times)
        self.mix = nn.Conv2d(width * times, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(functional.relu6(self.norm(self.each(x))))


class Shuffle(nn.Module):
    """Channels of two groups take turns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.groups = nn.Conv2d(width, width, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(x)
        b, c, h, w = x.shape
        return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class Side(nn.Module):
    """Two branches beside what they read."""

    def __init__(self, width: int, left: int, right: int) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(width, left, 1), nn.Conv2d(width, right, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x).relu(), x, functional.silu(self.right(x))], 1)


class Twice(nn.Module):
    """One tensor twice, and the layer after it at once."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * width, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.cat([x, x.tanh()], 1))


class Halves(nn.Module):
    """One half goes through a layer, the other around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(width // 2, width // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([b, self.layer(a).relu()], 1)


class Gate(nn.Module):
    """One half of a layer's channels scales the other."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.both = nn.Conv2d(width, 2 * out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.glu(self.both(x), 1)


class Product(nn.Module):
    """Two branches, multiplied, or the larger of the two."""

    def __init__(self, width: int, out: int, *, larger: bool) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(width, out, 1), nn.Conv2d(width, out, 3, padding=1)
        self.larger = larger

    def forward(self, x: Tensor) -> Tensor:
        if self.larger:
            return torch.maximum(self.one(x), self.other(x))
        return self.one(x) * self.other(x)


class Residual(nn.Module):
    """A sum with what was read; the second layer in groups where they are asked for."""

    def __init__(self, width: int, inner: int, groups: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(width, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        )
        self.second = nn.Conv2d(inner, width, 1, groups=groups)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.norm(self.second(self.first(x).relu()))).relu()


class Dense(nn.Module):
    """Everything so far is read again."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, growth, 3, padding=1)
        self.norm = nn.BatchNorm2d(width + growth)
        self.second = nn.Conv2d(width + growth, growth, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.first(x)], 1)
        return torch.cat([x, self.second(self.norm(x).relu())], 1)


class Repeated(nn.Module):
    """One layer, used twice."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(self.layer(x).relu()))


Block = Callable[[random.Random, int], tuple[nn.Module, int]]


def _even(draw: random.Random) -> int:
    return 2 * draw.randint(1, 5)


def _to(kind: Callable[[int, int], nn.Module]) -> Block:
    def block(draw: random.Random, width: int) -> tuple[nn.Module, int]:
        out = _even(draw)
        return kind(width, out), out

    return block


def _same(kind: Callable[[random.Random, int], nn.Module]) -> Block:
    return lambda draw, width: (kind(draw, width), width)


def _side(draw: random.Random, width: int) -> tuple[nn.Module, int]:
    left, right = draw.randint(1, 6), draw.randint(1, 6)
    right += (left + right) % 2
    return Side(width, left, right), width + left + right


def _dense(draw: random.Random, width: int) -> tuple[nn.Module, int]:
    growth = draw.randint(1, 4)
    return Dense(width, growth), width + 2 * growth


BLOCKS: dict[str, Block] = {
    "excite": _same(lambda draw, width: Excite(width, draw.randint(1, 4))),
    "depthwise": _to(lambda width, out: Depthwise(width, out, 1)),
    "depthwise twice": _to(lambda width, out: Depthwise(width, out, 2)),
    "shuffle": _same(lambda _, width: Shuffle(width)),
    "side": _side,
    "twice": _to(Twice),
    "halves": _same(lambda _, width: Halves(width)),
    "gate": _to(Gate),
    "product": _to(lambda width, out: Product(width, out, larger=False)),
    "larger": _to(lambda width, out: Product(width, out, larger=True)),
    "residual": _same(lambda draw, width: Residual(width, draw.randint(1, 6), 1)),
    "residual in groups": _same(lambda draw, width: Residual(width, _even(draw), 2)),
    "dense": _dense,
    "repeated": _same(lambda _, width: Repeated(width)),
    "in groups": _to(lambda width, out: nn.Conv2d(width, out, 3, padding=1, groups=2)),
    "transposed": _to(lambda width, out: nn.ConvTranspose2d(width, out, 2)),
    "group norm": _same(lambda _, width: nn.GroupNorm(2, width)),
    "pool": _same(lambda draw, _: nn.MaxPool2d(2, 1) if draw.random() < 0.5 else nn.AvgPool2d(2)),
}


def drawn(seed: int, *, blocks: int = 4) -> nn.Module:
    """A network of up to so many blocks, with random weights, in eval mode; a function of `seed`.

    Its `kinds` are the names of its blocks, its `example_input_array` an input.
    """
    draw = random.Random(seed)  # noqa: S311
    entering, width = draw.randint(1, 3), 2 + _even(draw)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Conv2d(entering, width, 3, padding=1), nn.BatchNorm2d(width)]
        layers.append(draw.choice([nn.ReLU(), nn.GELU(), nn.PReLU(width)]))
        kinds = draw.choices(sorted(BLOCKS), k=draw.randint(1, blocks))
        for kind in kinds:
            block, width = BLOCKS[kind](draw, width)
            layers.append(block)
        side = draw.choice([1, 2])
        layers += [nn.AdaptiveAvgPool2d(side), nn.Flatten()]
        if draw.random() < 0.4:
            inner = draw.randint(2, 6)
            layers += [nn.Linear(side**2 * width, inner), nn.ReLU()]
            layers.append(nn.Linear(inner, CLASSES))
        else:
            layers.append(nn.Linear(side**2 * width, CLASSES))
        model = randomised(nn.Sequential(*layers).eval())
    model.kinds = tuple(kinds)  # type: ignore[assignment]
    model.example_input_array = torch.zeros(1, entering, 8, 8)
    return model
