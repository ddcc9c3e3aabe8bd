"""Small networks that reshape, cut, reorder or mix their channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import Apply, conv_norm
from .sandwich import WIDTH, Flat, through, within
from .shuffle import channel_shuffle

if TYPE_CHECKING:
    from collections.abc import Callable


def shuffle_constants(x: Tensor) -> Tensor:
    """Channel shuffle with its sizes written as numbers."""
    return x.view(-1, 4, 4, 8, 8).transpose(1, 2).reshape(-1, 16, 8, 8)


def gate(x: Tensor) -> Tensor:
    """One half of the channels gates the other."""
    value, control = x.chunk(2, dim=1)
    return value * torch.sigmoid(control)


def unequal_split(x: Tensor) -> Tensor:
    """4 and 12 channels, treated differently and joined in the other order."""
    few, many = x.split([4, 12], dim=1)
    return torch.cat([many, torch.tanh(few)], 1)


def half(x: Tensor) -> Tensor:
    """The first half of the channels, whatever their number."""
    return x[:, : x.shape[1] // 2]


def view_constant(x: Tensor) -> Tensor:
    """Centres each channel over space through a view that names its 16 channels."""
    flat = x.view(x.shape[0], 16, -1)
    return (flat - flat.mean(2, keepdim=True)).view(x.shape[0], 16, 8, 8)


def maxout(x: Tensor) -> Tensor:
    """The larger of each two neighbouring channels."""
    batch, channels, height, width = x.shape
    return x.view(batch, channels // 2, 2, height, width).amax(2)


def gram(x: Tensor) -> Tensor:
    """Channel by channel products, flattened: (batch, 16 * 16)."""
    flat = x.flatten(2)
    return (flat @ flat.transpose(1, 2) / flat.shape[2]).flatten(1)


def circular_channels(x: Tensor) -> Tensor:
    """The last channel again in front of the first, the first again behind the last."""
    return functional.pad(x[None], (0, 0, 0, 0, 1, 1), mode="circular")[0]


def each_twice(x: Tensor) -> Tensor:
    """Every channel twice, said by a tensor."""
    return x.repeat_interleave(torch.full((WIDTH,), 2), dim=1, output_size=2 * WIDTH)


def without_autocast(x: Tensor) -> Tensor:
    """A part that runs in full precision whatever stands around the network."""
    with torch.autocast("cpu", enabled=False):
        return torch.relu(x).log1p()


class SubSpectral(nn.Module):
    """SubSpectralNorm with an affine map per channel and band: row c * bands + b."""

    def __init__(self, bands: int = 4) -> None:
        super().__init__()
        self.bands = bands
        self.norm = nn.BatchNorm2d(WIDTH * bands)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frequency, time = x.shape
        y = x.view(batch, channels * self.bands, frequency // self.bands, time)
        return self.norm(y).view(batch, channels, frequency, time)


class ChannelsLast(nn.Module):
    """LayerNorm and Linear over channels moved to the end."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Transposed(nn.Module):
    """A convolution between two transpositions of the given axes."""

    def __init__(self, conv: nn.Conv2d, first: int, second: int) -> None:
        super().__init__()
        self.conv, self.first, self.second = conv, first, second

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(self.first, self.second)).transpose(self.first, self.second)


class Einsum(nn.Module):
    """A 1x1 convolution written as an einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.2 * torch.randn(12, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,dc->bdhw", x, self.weight)


class PixelShuffle(nn.Module):
    """32 channels become 8 at twice the size: each four neighbours share one fate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(WIDTH, 32, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.conv(x), 2)


class Recurrent(nn.Module):
    """GRU over time on (channel * frequency) features; its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8 * 8, 8, batch_first=True)
        self.narrow = nn.Conv2d(WIDTH, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(self.narrow(x).permute(0, 3, 1, 2).flatten(2))
        return states[:, -1]


class Attention(nn.Module):
    """Self-attention of four heads over positions, added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return (tokens + mixed).transpose(1, 2).reshape(x.shape)


class FlatNorm(nn.Module):
    """Flattens a 2 x 2 map and normalises each (channel, position) on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.norm = nn.BatchNorm1d(WIDTH * 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(self.pool(x).flatten(1)))


def pooled_flat() -> nn.Module:
    """Flatten with 2 x 2 positions left: four linear columns for each channel."""
    return Flat(nn.Sequential(nn.AvgPool2d(4), nn.Flatten()), WIDTH * 4)


SHAPES: dict[str, Callable[[], nn.Module]] = {
    "flatten_linear": pooled_flat,
    "flatten_batch_norm": lambda: Flat(FlatNorm(), WIDTH * 4),
    "shuffle_sizes": within(
        lambda: nn.Sequential(
            Apply(lambda x: channel_shuffle(x, 4)), conv_norm(WIDTH, 16, 3, groups=4)
        )
    ),
    "shuffle_constants": through(shuffle_constants),
    "chunk_gate": through(gate, 8),
    "functional_glu": through(lambda x: functional.glu(x, dim=1), 8),
    "split_constants": through(unequal_split),
    "slice_constant": through(lambda x: x[:, :8], 8),
    "slice_half": through(half, 8),
    "select_channels": through(lambda x: x[:, [0, 5, 5, 11]], 4),
    "flip_channels": through(lambda x: x.flip(1) + x),
    "roll_channels": through(lambda x: x.roll(1, 1)),
    "roll_everything": through(lambda x: x.roll(1)),
    "roll_time": through(lambda x: x.roll(1, 3)),
    "circular_channels": through(circular_channels, WIDTH + 2),
    "constant_channels": through(
        lambda x: functional.pad(x, (0, 0, 0, 0, 1, 2), value=0.5), WIDTH + 3
    ),
    "each_twice": through(each_twice, 2 * WIDTH),
    "view_as": through(lambda x: x.flatten(2).softmax(-1).view_as(x)),
    "reshape_as": through(lambda x: x.flatten(2).reshape_as(x)),
    "without_autocast": through(without_autocast),
    "view_constant": through(view_constant),
    "sub_spectral_norm": within(SubSpectral),
    "maxout": through(maxout, 8),
    "gram": lambda: Flat(Apply(gram), WIDTH * WIDTH),
    "einsum": within(Einsum, 12),
    "pixel_shuffle": within(PixelShuffle, 8),
    "interpolate": through(lambda x: functional.interpolate(x, scale_factor=2.0, mode="nearest")),
    "channels_last": within(ChannelsLast, 12),
    "transposed_space": within(
        lambda: Transposed(nn.Conv2d(WIDTH, 12, (3, 1), padding=(1, 0)), 2, 3), 12
    ),
    "channels_as_space": within(lambda: Transposed(nn.Conv2d(8, 8, 3, padding=1), 1, 2)),
    "attention": within(Attention),
    "gru": lambda: Flat(Recurrent(), 8),
}
