"""Small networks that write into a part of a tensor that is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .sandwich import WIDTH, through, within

if TYPE_CHECKING:
    from collections.abc import Callable


def later(x: Tensor) -> Tensor:
    """Every frame gets twice the one before; the first and last rows are cleared."""
    y = x.clone()
    y[..., 1:] = 2 * x[..., :-1]
    y[:, :, 0] = 0
    y[:, :, -1].fill_(0.5)
    return y


def into_zeros(x: Tensor) -> Tensor:
    """A causal shift into a tensor of zeros that had no channels before."""
    y = x.new_zeros(x.shape)
    y[..., 1:] = x[..., :-1]
    y[..., 0] = torch.tanh(x[..., -1])
    return y


def by_mask(x: Tensor) -> Tensor:
    """What is negative becomes a number, and some rows others."""
    y = x.clone()
    y[y < 0] = 0.1
    y[:, :, torch.tensor([0, 3])] = x[:, :, :2] * 2
    return torch.where(x > 1, y, 0.5).masked_fill(x > 2, 2.0)


def temporal_shift(x: Tensor) -> Tensor:
    """A quarter of the channels a frame later, a quarter a frame earlier (Lin et al. 2019)."""
    fold, y = x.shape[1] // 4, torch.zeros_like(x)
    y[:, :fold, :, :-1] = x[:, :fold, :, 1:]
    y[:, fold : 2 * fold, :, 1:] = x[:, fold : 2 * fold, :, :-1]
    y[:, 2 * fold :] = x[:, 2 * fold :]
    return y


def padded_shift(x: Tensor) -> Tensor:
    """The same from parts that are padded and joined."""
    fold = x.shape[1] // 4
    first, second, rest = x[:, :fold], x[:, fold : 2 * fold], x[:, 2 * fold :]
    later = functional.pad(second[..., :-1], (1, 0))
    return torch.cat([functional.pad(first[..., 1:], (0, 1)), later, rest], 1)


def before_silence(x: Tensor) -> Tensor:
    """Two rows of zeros, made for as many channels as there are, behind the map."""
    return torch.cat([x, torch.zeros(x.shape[0], x.shape[1], 2, x.shape[3])], 2)


def numbered_silence(x: Tensor) -> Tensor:
    """The same, made for 16 channels."""
    return torch.cat([x, torch.zeros(x.shape[0], WIDTH, 2, 8)], 2)


class PartialConvolution(nn.Module):
    """A convolution of the first channels in their place (Chen et al. 2023)."""

    def __init__(self) -> None:
        super().__init__()
        self.few = 4
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = x.clone()
        y[:, : self.few] = self.conv(x[:, : self.few])
        return y


class ClassToken(nn.Module):
    """A vector in front of all positions, which goes through two layers with them."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.first, self.second = nn.Linear(WIDTH, 12), nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([self.token.expand(x.shape[0], -1, -1), x.flatten(2).transpose(1, 2)], 1)
        y = self.second(torch.relu(self.first(y)))
        batch, _, height, width = x.shape
        return (y[:, 1:] * y[:, :1]).transpose(1, 2).reshape(batch, -1, height, width)


WRITES: dict[str, Callable[[], nn.Module]] = {
    "later": through(later),
    "into_zeros": through(into_zeros),
    "by_mask": through(by_mask),
    "temporal_shift": through(temporal_shift),
    "padded_shift": through(padded_shift),
    "before_silence": through(before_silence),
    "numbered_silence": through(numbered_silence),
    "partial_convolution": within(PartialConvolution),
    "class_token": within(ClassToken, 12),
}
