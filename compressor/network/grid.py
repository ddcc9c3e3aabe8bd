"""Whole numbers that stand for values: a grid, values moved to it, and what an int8 layer holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EXACT = 1 << 24
"""Single precision holds every whole number up to here."""


@dataclass(frozen=True)
class Grid:
    """The integers of one tensor; integer q stands for the value (q - zero) * scale.

    Attributes:
        low: Smallest integer.
        high: Largest integer.
        zero: The integer that stands for 0 (the zero point).
    """

    low: int
    high: int
    zero: int

    def __post_init__(self) -> None:
        """ValueError unless 8 bits hold the integers, and 0 is one of the values."""
        kinds = range(-128, 128), range(256)
        fits = any(self.low in kind and self.high in kind for kind in kinds)
        if not fits or not self.low <= self.zero <= self.high:
            raise ValueError(
                f"{self}: low and high must lie within -128 to 127 or within 0 to 255, and zero "
                "between them"
            )

    @property
    def steps(self) -> tuple[int, int]:
        """Smallest and largest value in units of the scale."""
        return self.low - self.zero, self.high - self.zero

    @property
    def dtype(self) -> torch.dtype:
        """The data type that holds the integers."""
        return torch.int8 if self.low < 0 else torch.uint8


@dataclass(frozen=True)
class Integers:
    """Content of an int8 layer.

    Attributes:
        weight: int8, of the shape of the original.
        scale: float32 (channels,) or (channels, sub_bands); negative where the gain is.
        bias: int32 of the same shape, or float32 where it was asked for: then it is added last.
        large: True if sums may leave the whole numbers that single precision holds.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor
    large: bool


def wide(x: Tensor) -> Tensor:
    """`x` in single precision, or in double if it is."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def quantised(x: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """The nearest values of a grid, of the shape and type of `x`; no gradient. `scale`: (), > 0."""
    steps = wide(x) / scale
    return steps.round_().clamp_(*grid.steps).mul_(scale).to(x.dtype)
