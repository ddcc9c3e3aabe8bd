"""Swin-T (Liu et al. 2021): attention in windows of 7 by 7, shifted in every other block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.common.vision import CLASSES

WINDOW = 7


class Attention(nn.Module):
    """Attention in windows, with a bias for every pair of places."""

    def __init__(self, width: int, heads: int, side: int, shift: int) -> None:
        """For pictures of `side` by `side` places."""
        super().__init__()
        self.heads, self.side, self.shift = heads, side, shift
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        places = torch.stack(torch.meshgrid(*[torch.arange(WINDOW)] * 2, indexing="ij")).flatten(1)
        apart = (places[:, :, None] - places[:, None, :]) + WINDOW - 1
        self.register_buffer("pairs", (apart[0] * (2 * WINDOW - 1) + apart[1]).flatten())
        self.register_buffer("mask", _mask(side, shift))

    def forward(self, x: Tensor) -> Tensor:
        """Attend; x is (batch, side, side, channel)."""
        batch, side, _, width = x.shape
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        n = side // WINDOW
        x = x.view(batch, n, WINDOW, n, WINDOW, width).transpose(2, 3)
        x = x.reshape(batch * n * n, WINDOW * WINDOW, width)
        parts = self.qkv(x).view(batch * n * n, WINDOW**2, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.pairs].view(WINDOW**2, WINDOW**2, self.heads).permute(2, 0, 1)
        mixed = scaled_dot_product_attention(q, k, v, bias[None] + self.mask.repeat(batch, 1, 1, 1))
        x = self.out(mixed.transpose(1, 2).reshape(batch * n * n, WINDOW**2, width))
        x = x.view(batch, n, n, WINDOW, WINDOW, width).transpose(2, 3)
        x = x.reshape(batch, side, side, width)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


def _mask(side: int, shift: int) -> Tensor:
    """What keeps apart places that a shift has brought into one window."""
    region = torch.zeros(side, side)
    if shift:
        cuts = (slice(0, -WINDOW), slice(-WINDOW, -shift), slice(-shift, None))
        for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
            region[rows, columns] = number
    n = side // WINDOW
    windows = region.view(n, WINDOW, n, WINDOW).transpose(1, 2).reshape(n * n, WINDOW**2)
    apart = windows[:, None, :] != windows[:, :, None]
    return apart.float().mul(-100.0)[:, None]


class Block(nn.Module):
    """Attention and two layers, each beside what came in."""

    def __init__(self, width: int, heads: int, side: int, shift: int) -> None:
        """As `Attention`."""
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, side, shift)
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Both sums."""
        x = x + self.attention(self.first(x))
        return x + self.layers(self.second(x))


class Merge(nn.Module):
    """Four neighbours become one place of twice the channels."""

    def __init__(self, width: int) -> None:
        """Of so many channels before."""
        super().__init__()
        self.norm, self.reduce = (
            nn.LayerNorm(4 * width),
            nn.Linear(4 * width, 2 * width, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """A picture of half the side."""
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduce(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    """The network, for pictures of `side` by `side`: a multiple of 224 for windows of 7."""

    def __init__(self, depths: tuple[int, ...] = (2, 2, 6, 2), width: int = 96) -> None:
        """Swin-T by default."""
        super().__init__()
        side = 224 // 4
        self.patches, self.norm = nn.Conv2d(3, width, 4, 4), nn.LayerNorm(width)
        layers: list[nn.Module] = []
        for stage, depth in enumerate(depths):
            if stage:
                layers.append(Merge(width))
                width, side = 2 * width, side // 2
            for block in range(depth):
                shift = WINDOW // 2 if block % 2 and side > WINDOW else 0
                layers.append(Block(width, width // 32, side, shift))
        self.layers = nn.Sequential(*layers)
        self.last, self.classes = nn.LayerNorm(width), nn.Linear(width, CLASSES)
        self.example_input_array = torch.zeros(1, 3, 224, 224)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        return self.classes(self.last(self.layers(x)).mean((1, 2)))
