"""The sigmoid of TensorFlow Lite Micro, in whole numbers to the last bit.

Numbers have 31 bits behind the point and some of them before it; the exponential is a polynomial on
a quarter and one factor for each bit before it, the quotient three steps of Newton's method.

Source: gemmlowp's fixed-point logistic function, and the int8 form of it in TensorFlow Lite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from compressor.network.fixed_point import BITS, ONE, divided, factor, high, longer, scaled

WHOLE = 4
"""Bits of the argument before the point: beyond 16 the sigmoid is 0 or 1."""

_EIGHTH, _THIRD, _EXP_EIGHTH = 1 << 28, 715827883, 1895147668
"""1 / 8, 1 / 3, exp(-1 / 8)."""

_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401)
"""exp(-2^n) for n from -2."""

_START, _SLOPE = 1515870810, -1010580540
"""48 / 17 and -32 / 17, with two bits before the point: Newton's start."""


def sigmoid_steps(x: Tensor, scale: Tensor) -> Tensor:
    """The sigmoid in steps of 1 / 256.

    Args:
        x: Whole steps, int64, any shape.
        scale: The worth of one, ().

    Returns:
        int64 of that shape, 0 to 255.
    """
    real = scale.double() * 2.0 ** (BITS - WHOLE)
    _, shift = factor(real)
    radius = _radius(shift)
    inner = scaled(torch.clamp(x, -radius, radius), real)
    steps = divided(_sigmoid(inner), BITS - 8)
    steps = torch.where(x <= -radius, 0, torch.where(x >= radius, 255, steps))
    return steps.clamp(0, 255)


def _radius(shift: Tensor) -> Tensor:
    """The first step, int64, at which the sigmoid is taken for 0 or 1; `shift` is its factor's."""
    most = ((1 << WHOLE) - 1) << (BITS - WHOLE)
    return torch.ldexp(torch.tensor(float(most), dtype=torch.float64), -shift).floor().long()


def _sigmoid(x: Tensor) -> Tensor:
    """Of an argument with `WHOLE` bits before the point; the result has none."""
    positive = _over_one_plus(_exp(-x.abs()))
    found = torch.where(x > 0, positive, ONE - positive)
    return torch.where(x == 0, 1 << BITS - 1, found)


def _exp(x: Tensor) -> Tensor:
    """Of an argument that is not positive, with `WHOLE` bits before the point."""
    quarter = 1 << BITS - WHOLE - 2
    rest = (x & (quarter - 1)) - quarter
    found, left = _exp_of_a_quarter(longer(rest, WHOLE)), rest - x
    for bit, power in enumerate(_POWERS[: WHOLE + 2], start=BITS - WHOLE - 2):
        found = torch.where((left >> bit) & 1 == 1, high(found, power), found)
    return torch.where(x == 0, ONE, found)


def _exp_of_a_quarter(x: Tensor) -> Tensor:
    """From -1 / 4 to 0: the first terms of the series around -1 / 8."""
    x = x + _EIGHTH
    second = high(x, x)
    third, fourth = high(second, x), high(second, second)
    terms = divided(high(divided(fourth, 2) + third, _THIRD) + second, 1)
    return _EXP_EIGHTH + high(x + terms, _EXP_EIGHTH)


def _over_one_plus(x: Tensor) -> Tensor:
    """``1 / (1 + x)`` for x between 0 and 1."""
    half = (x + ONE + 1) >> 1
    found = _START + high(half, _SLOPE)
    for _ in range(3):
        found = found + longer(high(found, (1 << BITS - 2) - high(half, found)), 2)
    return longer(found, 1)
