"""One over a square root of int8 as TensorFlow Lite Micro has it, to the last bit.

Five steps of Newton's method from a one, on numbers with three bits before the point; then twenty
bits behind the point, and the move to the grid of the result.

Source: `RsqrtEvalQuantized` of TensorFlow Lite Micro and `GetInvSqrtQuantizedMultiplierExp` of
TensorFlow Lite, on gemmlowp's fixed-point numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.network.fixed_point import BITS, divided, high, longer, scaled

_BEHIND = 20
"""Bits behind the point in which the root is kept before it comes to its grid."""

_BEFORE = 3
"""Bits before the point in Newton's steps."""

_ONE = 1 << BITS - _BEFORE

_HALF_ROOT = 1518500250
"""Half the root of 2, without bits before the point."""


def inverse_root_steps(x: Tensor, scale: Tensor, output_scale: Tensor, most: int) -> Tensor:
    """One over the square root, in steps of the output, not yet limited to its grid.

    Args:
        x: Whole steps from 0 to 255, int64, any shape.
        scale: The worth of one, ().
        output_scale: The worth of a step of the result, ().
        most: The result where `x` is 0.

    Returns:
        int64 of that shape.
    """
    real = 1.0 / (scale.double().sqrt() * output_scale.double())
    found = scaled(_table(x.device)[x], real / 2.0**_BEHIND)
    return found.masked_fill(x == 0, most)


def _table(device: torch.device) -> Tensor:
    """One over the roots of 0 to 255, with `_BEHIND` bits behind the point; 0 counts as 1."""
    x = torch.arange(256, device=device).clamp(min=1)
    pairs = (30 - torch.log2(x.double()).floor().long()) // 2 - 1
    number = divided(x << (2 * pairs - 1), 1)
    found = torch.full_like(x, _ONE)
    for _ in range(5):
        cube = longer(high(high(found, found), found), 2 * _BEFORE)
        step = high(torch.full_like(x, _ONE + _ONE // 2), found) - high(number, cube)
        found = longer(step, _BEFORE)
    shift = 11 - pairs
    found = high(found, _HALF_ROOT) << (-shift).clamp(min=0)
    root = high(1 << (_BEHIND - shift.clamp(min=0)), found)
    return torch.where(x == 1, high(torch.full_like(x, 1 << _BEHIND), (1 << BITS) - 1), root)
