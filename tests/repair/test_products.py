"""Sums over rows: those of all at once, however they come."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.repair.products import Products


def drawn(rows: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    """Entries (rows, 2, 3) and outputs (rows, 2, 4)."""
    source = torch.Generator().manual_seed(seed)
    u = torch.randn(rows, 2, 3, generator=source, dtype=torch.float64) + 1
    return u.to(dtype), (torch.randn(rows, 2, 4, generator=source, dtype=torch.float64) - 2).to(
        dtype
    )


def summed(u: torch.Tensor, y: torch.Tensor) -> Products:
    found = Products.none(2, 4, 3)
    found.add(u, y)
    return found


@settings(deadline=None, max_examples=20)
@given(rows=st.integers(1, 9), cut=st.integers(0, 9))
def test_parts_add_up(rows: int, cut: int) -> None:
    u, y = drawn(rows)
    whole, parts = summed(u, y), Products.none(2, 4, 3)
    parts.add(u[:cut], y[:cut])
    parts = parts + summed(u[cut:], y[cut:])
    assert parts.count == whole.count == rows
    for name in ("uu", "yu", "yy", "u", "y"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))


def test_centred_products_are_covariances() -> None:
    u, y = drawn(50)
    found = summed(u, y).centred()
    for group in range(2):
        both = torch.cat([u[:, group], y[:, group]], 1).T
        covariance = torch.cov(both, correction=0)
        torch.testing.assert_close(found.uu[group], covariance[:3, :3])
        torch.testing.assert_close(found.yu[group], covariance[3:, :3])
        torch.testing.assert_close(found.yy[group], covariance.diagonal()[3:])
    torch.testing.assert_close(found.u, u.mean(0))
    torch.testing.assert_close(found.y, y.mean(0))


@pytest.mark.parametrize("centred", [True, False])
def test_the_error_of_a_weight_is_what_its_residuals_say(*, centred: bool) -> None:
    u, y = drawn(40)
    weight = torch.randn(2, 4, 3, dtype=torch.float64)
    products = summed(u, y).centred() if centred else summed(u, y).mean()
    rest = y - torch.einsum("goe,rge->rgo", weight, u)
    wanted = rest.var(0, correction=0) if centred else rest.square().mean(0)
    torch.testing.assert_close(products.error(weight), wanted)


def test_means_alone_keep_no_pairs() -> None:
    found = Products.none(2, 4, 3, means=True)
    u, y = drawn(10)
    found.add(u, y)
    assert found.uu.numel() == found.yu.numel() == 0
    torch.testing.assert_close(found.u, u.sum(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_are_not_in_half_precision(dtype: torch.dtype) -> None:
    """65,504 is the largest number of float16, and bfloat16 has three digits."""
    u, y = drawn(5000, dtype=dtype)
    u, y = u * 10, y * 10
    found, wanted = summed(u, y), summed(u.double(), y.double())
    for name in ("uu", "yu", "yy", "u", "y"):
        torch.testing.assert_close(
            getattr(found, name), getattr(wanted, name), rtol=1e-5, atol=1e-2
        )
