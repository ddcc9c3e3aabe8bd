"""Multiplication by fixed-point factors, which is how runtimes without a floating-point unit scale.

TensorFlow Lite Micro scales a sum of 32 bits by ``multiplier * 2^(shift - 31)``. The product of 64
bits is rounded twice: to a multiple of 2^shift of a step, halves up, and then to a step, halves
away from zero. An exact sum so comes out one step further from zero once in 2^(1 - shift) cases.

Source: TensorFlow Lite Micro, `QuantizeMultiplier` and `MultiplyByQuantizedMultiplier`; gemmlowp,
`SaturatingRoundingDoublingHighMul` and `RoundingDivideByPOT`.
"""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 31
"""Bits of a multiplier, which is between a half and one."""

ONE = (1 << BITS) - 1
"""The largest number without bits before the point, which stands for 1."""


def factor(real: Tensor) -> tuple[Tensor, Tensor]:
    """Multiplier and shift that stand for a factor.

    Args:
        real: Not negative, float64, any shape.

    Returns:
        Whole numbers, int64, of that shape: ``multiplier * 2^(shift - 31)`` is next to the factor.
        What is below 2^-32 becomes nothing.
    """
    part, shift = torch.frexp(real)
    whole = torch.floor(part * 2.0**BITS + 0.5).long()
    over = whole == 1 << BITS
    whole, shift = torch.where(over, whole // 2, whole), shift.long() + over
    small = shift < -BITS
    return whole.masked_fill(small, 0), shift.masked_fill(small, 0)


def scaled(x: Tensor, real: Tensor) -> Tensor:
    """Whole numbers of at most 32 bits times a factor, rounded twice.

    Args:
        x: int64, any shape.
        real: The factor, as `factor` takes it; a shape that broadcasts.

    Returns:
        int64, of the shape of `x`.
    """
    multiplier, shift = factor(real)
    # A sum that is made longer first has 32 bits still: the multiplier may be in its place.
    longer = multiplier << shift.clamp(min=0)
    return _divided(high(x, longer), (-shift).clamp(min=0))


def high(x: Tensor, y: Tensor | int) -> Tensor:
    """``x * y / 2^31`` of whole numbers (int64, 32 bits in use), rounded, halves up."""
    return (x * y).add_(1 << BITS - 1).bitwise_right_shift_(BITS)


def divided(x: Tensor, bits: int) -> Tensor:
    """Whole numbers (int64) divided by 2^bits, rounded, halves away from zero."""
    return _divided(x.clone(), torch.tensor(bits, device=x.device))


def longer(x: Tensor, bits: int) -> Tensor:
    """The same number with fewer bits before the point, the largest where it has none."""
    return (x << bits).clamp(-ONE - 1, ONE)


def _divided(x: Tensor, bits: Tensor) -> Tensor:
    """Likewise, in place."""
    half = (torch.ones_like(bits) << bits) >> 1
    below = (x >> 63).bitwise_and_(-(bits > 0).long())  # -1 for negative ones
    return x.add_(below).add_(half).bitwise_right_shift_(bits)
