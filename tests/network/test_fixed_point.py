"""Fixed-point factors against whole numbers of Python, as the kernels' source spells them."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from compressor.network.fixed_point import divided, factor, high, scaled

SUMS = st.integers(-(2**30), 2**30)
FACTORS = st.floats(2.0**-28, 0.9999)


def quantised(real: float) -> tuple[int, int]:
    part, shift = math.frexp(real)
    whole = math.floor(part * 2**31 + 0.5)
    return (whole // 2, shift + 1) if whole == 2**31 else (whole, shift)


def toward_zero(a: int, b: int) -> int:
    return abs(a) // b * (1 if a >= 0 else -1)


def doubling_high(a: int, b: int) -> int:
    product = a * b
    nudge = 2**30 if product >= 0 else 1 - 2**30
    return toward_zero(product + nudge, 2**31)


def by_power(x: int, bits: int) -> int:
    mask = (1 << bits) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> bits) + ((x & mask) > threshold)


def whole(tensor: torch.Tensor) -> int:
    return int(tensor.item())


@given(SUMS, FACTORS)
def test_a_sum_times_a_factor(x: int, real: float) -> None:
    multiplier, shift = quantised(real)
    wanted = by_power(doubling_high(x << max(shift, 0), multiplier), max(-shift, 0))
    found = scaled(torch.tensor([x]), torch.tensor([real], dtype=torch.float64))
    assert found.tolist() == [wanted]


@given(st.integers(-(2**20), 2**20), st.floats(1.0, 500.0))
def test_a_factor_above_one(x: int, real: float) -> None:
    multiplier, shift = quantised(real)
    wanted = by_power(doubling_high(x << max(shift, 0), multiplier), max(-shift, 0))
    assert whole(scaled(torch.tensor(x), torch.tensor(real, dtype=torch.float64))) == wanted


@given(SUMS, st.integers(0, 30))
def test_halves_go_away_from_zero(x: int, bits: int) -> None:
    assert whole(divided(torch.tensor(x), bits)) == by_power(x, bits)


@given(SUMS, SUMS)
def test_the_high_part_of_a_product(x: int, y: int) -> None:
    assert whole(high(torch.tensor(x), y)) == doubling_high(x, y)


def test_rounding_up_to_one_takes_the_next_power() -> None:
    real = 1 - 2.0**-40
    multiplier, shift = factor(torch.tensor(real, dtype=torch.float64))
    assert (whole(multiplier), whole(shift)) == (2**30, 1)


def test_next_to_nothing_is_nothing() -> None:
    multiplier, _ = factor(torch.tensor([2.0**-33, 0.0], dtype=torch.float64))
    assert multiplier.tolist() == [0, 0]


def test_two_roundings_are_not_one() -> None:
    """A thousand-millionth below 1.5 comes to 1.5 first, and then away from zero."""
    x, real = 3 * 2**29 - 1, 2.0**-30
    assert round(x * real) == 1
    assert whole(scaled(torch.tensor(x), torch.tensor(real, dtype=torch.float64))) == 2
