"""Random small networks that mix attention, recurrences, convolutions, computed weights and gates.

A front, positions or none, residual blocks with a norm each, a pool, a linear layer.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from tests.helpers import mixed_attention as attention
from tests.helpers.mixed_attention import TIME, Body, Cross, zero
from tests.zoo.planting import Entries

CLASSES, WORDS = 3, 11


class Perceptron(Body):
    """Two layers; of computed weights where `norm` makes them so."""

    def __init__(self, width: int, hidden: int, *, normed: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        if normed:
            self.up = weight_norm(self.up)
        self.act = nn.SiLU() if normed else nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.act(self.up(x)))

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        unit = (draw.randrange(self.down.in_features),)
        zero(self.down.weight, 1, unit)
        return (Entries("up.bias", 0, unit),)


class Gated(Body):
    """One half of the hidden units scales the other; halves of one layer, or two layers."""

    def __init__(self, width: int, hidden: int, *, packed: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 2 * hidden if packed else hidden)
        self.up = None if packed else nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.up is None:
            return self.down(functional.glu(self.gate(x), -1))
        return self.down(functional.silu(self.gate(x)) * self.up(x))

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        hidden = self.down.in_features
        unit = draw.randrange(hidden)
        zero(self.down.weight, 1, (unit,))
        return (Entries("gate.weight", 0, (unit, hidden + unit) if self.up is None else (unit,)),)


class Spatial(Body):
    """Half of the units, mixed over time, scales the other half."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * hidden), nn.Linear(hidden, width)
        self.norm, self.mix = nn.LayerNorm(hidden), nn.Conv1d(TIME, TIME, 1)

    def forward(self, x: Tensor) -> Tensor:
        u, v = functional.gelu(self.up(x)).chunk(2, -1)
        return self.down(u * self.mix(self.norm(v)))


class Tokens(Body):
    """A perceptron over time, as in a mixer."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(TIME, hidden), nn.Linear(hidden, TIME)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x.transpose(1, 2)))).transpose(1, 2)

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        unit = (draw.randrange(self.up.out_features),)
        zero(self.down.weight, 1, unit)
        return (Entries("up.weight", 0, unit),)


class Recurrent(Body):
    """A recurrent layer in one direction or both, and a product with its outputs."""

    def __init__(
        self, kind: type[nn.RNNBase], width: int, hidden: int, layers: int, *, both: bool
    ) -> None:
        super().__init__()
        self.layer = kind(width, hidden, layers, batch_first=True, bidirectional=both)
        self.mix = nn.Linear(hidden * (1 + both), width)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.layer(x)[0])

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        hidden = self.layer.hidden_size
        gates, unit = self.layer.weight_ih_l0.shape[0] // hidden, draw.randrange(hidden)
        rows = tuple(gate * hidden + unit for gate in range(gates))
        for tensor in self.layer.parameters():
            zero(tensor, 0, rows)  # a state that begins at zero stays there
        return (Entries("layer.weight_ih_l0", 0, rows),)


class Standard(nn.Conv1d):
    """Every filter has mean zero and variance one."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2), keepdim=True)
        deviation = self.weight.var((1, 2), keepdim=True, correction=0).add(1e-5).sqrt()
        return functional.conv1d(x, (self.weight - mean) / deviation, self.bias, 1, self.padding)


class Convolved(Body):
    """Convolutions over time: a layer up, one filter or more for every channel, a layer down."""

    def __init__(self, width: int, hidden: int, *, standard: bool, grouped: bool) -> None:
        super().__init__()
        conv = Standard if standard else nn.Conv1d
        self.up = conv(width, hidden, 3, padding=1)
        self.each = nn.Conv1d(hidden, hidden, 3, padding=1, groups=2 if grouped else hidden)
        self.norm = nn.GroupNorm(2, hidden) if standard else nn.BatchNorm1d(hidden)
        self.down = nn.Conv1d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.each(self.up(x.transpose(1, 2)).relu()))
        return self.down(functional.silu(x)).transpose(1, 2)


class Excited(Body):
    """A gate of every channel, of all channels' means over time."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.up(self.down(x.mean(1, keepdim=True)).relu()).sigmoid()

    def silence(self, draw: random.Random) -> tuple[Entries, ...]:
        unit = (draw.randrange(self.down.out_features),)
        zero(self.up.weight, 1, unit)
        return (Entries("down.weight", 0, unit),)


class Apart(nn.Module):
    """A norm of channels that come second, for those that come last."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


def _flag(draw: random.Random) -> bool:
    return draw.random() < 0.5


def _recurrent(draw: random.Random, width: int, _: int) -> Body:
    kind = draw.choice([nn.LSTM, nn.GRU, nn.RNN])
    return Recurrent(kind, width, draw.randint(2, 6), draw.choice([1, 1, 2]), both=_flag(draw))


Made = Callable[[random.Random, int, int], Body]
BODIES: dict[str, Made] = {
    "fused": lambda d, w, h: attention.Fused(
        w, h, scale=d.choice([None, (w // h) ** -0.5]), causal=_flag(d)
    ),
    "products": lambda d, w, h: attention.Products(w, h, einsum=_flag(d), biased=_flag(d)),
    "linear attention": lambda _, w, h: attention.Linear(w, h),
    "cross": lambda _, w, h: Cross(w, h),
    "packed": lambda d, w, h: attention.Packed(w, h, own=_flag(d), windows=_flag(d)),
    "grouped": lambda d, w, _: attention.Grouped(w, d.choice([1, 3]), rotary=_flag(d)),
    "multihead": lambda d, w, h: attention.Multihead(w, h, batch_first=_flag(d), weights=_flag(d)),
    "encoder": lambda d, w, h: attention.Encoder(w, h, d.randint(2, 9), norm_first=_flag(d)),
    "perceptron": lambda d, w, _: Perceptron(w, d.randint(2, 9), normed=_flag(d)),
    "gated": lambda d, w, _: Gated(w, d.randint(2, 9), packed=_flag(d)),
    "spatial": lambda d, w, _: Spatial(w, d.randint(2, 6)),
    "tokens": lambda d, _, __: Tokens(d.randint(2, 6)),
    "recurrent": _recurrent,
    "convolved": lambda d, w, _: Convolved(
        w, 2 * d.randint(2, 5), standard=_flag(d), grouped=_flag(d)
    ),
    "excited": lambda d, w, _: Excited(w, d.randint(2, 5)),
}

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layer": nn.LayerNorm,
    "root": nn.RMSNorm,
    "batch": lambda width: Apart(nn.BatchNorm1d(width)),
    "group": lambda width: Apart(nn.GroupNorm(3, width)),
    "none": lambda _: nn.Identity(),
}


FRONTS = ("vectors", "words", "samples", "patches", "spectrogram")


class Frames(nn.Module):
    """Sequences of vectors, of words, of samples, or a spectrogram, as (batch, time, channel)."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.layer: nn.Module = {
            "vectors": lambda: nn.Linear(5, width),
            "words": lambda: nn.Embedding(WORDS, width),
            "samples": lambda: nn.Conv1d(2, width, 3, padding=1),
            "patches": lambda: nn.Conv2d(1, width, 2, stride=2),
            "spectrogram": lambda: nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d((2, 1))
            ),
        }[kind]()
        self.mix = nn.Linear(4 * 3, width) if kind == "spectrogram" else None

    def example(self, source: torch.Generator) -> Tensor:
        if self.kind == "words":
            return torch.randint(WORDS, (1, TIME), generator=source)
        shapes = {
            "vectors": (1, TIME, 5),
            "samples": (1, 2, TIME),
            "patches": (1, 1, 4, TIME),
            "spectrogram": (1, 1, 6, TIME),
        }
        return torch.randn(shapes[self.kind], generator=source)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        if self.mix is not None:
            return self.mix(x.permute(0, 3, 1, 2).flatten(2))
        if self.kind == "patches":
            return x.flatten(2).transpose(1, 2)
        return x.transpose(1, 2) if self.kind == "samples" else x


POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(1),
    "first": lambda x: x[:, 0],
    "both": lambda x: torch.cat([x.mean(1), x.amax(1)], 1),
    "all": lambda x: x.flatten(1),
    "weighed": lambda x: (x * x.mean(2, keepdim=True).softmax(1)).sum(1),
}


class Mixed(nn.Module):
    """Blocks around a trunk; each adds to it, with its norm before or after."""

    waves: Tensor

    def __init__(self, seed: int, most: int = 3) -> None:
        super().__init__()
        draw = random.Random(seed)  # noqa: S311 - a test draws the same every time
        width = draw.choice([12, 24])
        front = draw.choice(FRONTS)
        self.front, self.first = Frames(front, width), _flag(draw)
        self.places = draw.choice(["none", "learned", "fixed"])
        self.learned = nn.Parameter(torch.randn(1, TIME, width))
        turns = torch.arange(TIME)[:, None] / 10 ** torch.linspace(0, 1, width)
        self.register_buffer("waves", turns.sin())
        names = [draw.choice(sorted(BODIES)) for _ in range(draw.randint(1, most))]
        norms = [draw.choice(sorted(NORMS)) for _ in names]
        self.bodies = nn.ModuleList(
            BODIES[name](draw, width, draw.choice([2, 3])) for name in names
        )
        self.norms = nn.ModuleList(NORMS[name](width) for name in norms)
        self.sums = [draw.random() < 0.8 for _ in names]
        pool = draw.choice(sorted(POOLS))
        self.pool = POOLS[pool]
        self.head = nn.Linear(width * {"both": 2, "all": TIME}.get(pool, 1), CLASSES)
        self.kinds = (front, self.places, *names, *norms, pool)
        if self.places != "learned":
            del self.learned
        self.example_input_array = self.front.example(torch.Generator().manual_seed(seed))

    def forward(self, x: Tensor) -> Tensor:
        x = self.front(x)
        if self.places != "none":
            x = x + (self.learned if self.places == "learned" else self.waves)
        memory = x
        for body, norm, added in zip(self.bodies, self.norms, self.sums, strict=True):
            y = norm(x) if self.first else x
            y = body(y, memory) if isinstance(body, Cross) else body(y)
            x = x + y if added else y
            x = x if self.first else norm(x)
        return self.head(self.pool(x))


def mixed(seed: int, most: int = 3) -> Mixed:
    """A network as a function of a seed, in eval mode; what it is made of is in its `kinds`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Mixed(seed, most).eval()
