"""Answers are those of other programs, and pulls are as good as what they do on other rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from compressor.repair import ridge
from compressor.repair.products import Products
from compressor.repair.ridge import PULLS, Solution, solved

ROWS, ENTRIES, OUT = 80, 6, 3


def problem(
    rows: int = ROWS, *, noise: float = 0.0, groups: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Entries, outputs and the weight that made them, with a bias of 2."""
    source = torch.Generator().manual_seed(seed)
    u = torch.randn(rows, groups, ENTRIES, generator=source, dtype=torch.float64) + 0.5
    weight = torch.randn(groups, OUT, ENTRIES, generator=source, dtype=torch.float64)
    y = torch.einsum("goe,rge->rgo", weight, u) + 2
    return u, y + noise * torch.randn(y.shape, generator=source, dtype=torch.float64), weight


def halves(u: Tensor, y: Tensor, *, means: bool = False) -> tuple[Products, Products]:
    found = [Products.none(u.shape[1], y.shape[2], u.shape[2], means=means) for _ in range(2)]
    middle = len(u) // 2
    for products, part in zip(found, (slice(middle), slice(middle, None)), strict=True):
        products.add(u[part], y[part])
    return found[0], found[1]


def answer(
    u: Tensor, y: Tensor, start: Tensor, *, biased: bool, mask: Tensor | None = None
) -> Solution:
    return solved(*halves(u, y), start, biased=biased, mask=mask)


@pytest.fixture
def unpulled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull too small to be seen."""
    monkeypatch.setattr(ridge, "PULLS", (1e-13,))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.usefixtures("unpulled")
def test_without_a_pull_it_is_least_squares(*, biased: bool) -> None:
    u, y, weight = problem(noise=0.3)
    found = answer(u, y, torch.zeros_like(weight), biased=biased)
    columns = u[:, 0].numpy()
    columns = np.hstack([columns, np.ones((ROWS, 1))]) if biased else columns
    wanted, *_ = np.linalg.lstsq(columns, y[:, 0].numpy(), rcond=None)
    np.testing.assert_allclose(found.weight[0].numpy(), wanted[:ENTRIES].T, atol=1e-9)
    if biased:
        assert found.bias is not None
        np.testing.assert_allclose(found.bias[0].numpy(), wanted[ENTRIES], atol=1e-9)
    else:
        assert found.bias is None


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("pull", PULLS)
def test_a_pull_is_ridge_regression_of_what_is_missing(
    pull: float, *, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    monkeypatch.setattr(ridge, "PULLS", (pull,))
    u, y, weight = problem(noise=0.3)
    start = -weight
    found = answer(u, y, start, biased=biased)
    rest = y[:, 0] - u[:, 0] @ start[0].T
    around = u - u.mean(0) if biased else u
    alpha = pull * float(around.square().mean()) * ROWS
    wanted = linear.Ridge(alpha=alpha, fit_intercept=biased, solver="cholesky")
    wanted.fit(u[:, 0].numpy(), rest.numpy())
    assert found.pull == pull
    np.testing.assert_allclose(found.weight[0].numpy(), start[0].numpy() + wanted.coef_, atol=1e-8)


def test_groups_are_solved_each_for_itself() -> None:
    u, y, weight = problem(groups=3, noise=0.1)
    whole = answer(u, y, torch.zeros_like(weight), biased=True)
    ridge_of = whole.pull
    for group in range(3):
        part = slice(group, group + 1)
        alone = answer(u[:, part], y[:, part], torch.zeros_like(weight[part]), biased=True)
        if alone.pull == ridge_of:
            torch.testing.assert_close(alone.weight, whole.weight[part])


@pytest.mark.parametrize("biased", [True, False])
def test_masked_entries_stay_zero_and_the_others_are_best_without_them(*, biased: bool) -> None:
    u, y, weight = problem(noise=0.2)
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[0, 0] = False
    start = -weight * mask
    found = answer(u, y, start, biased=biased, mask=mask)
    assert not found.weight[~mask].any()
    assert found.after <= found.before
    products = sum(halves(u, y), Products.none(1, OUT, ENTRIES))
    products = products.centred() if biased else products.mean()
    size = float(products.uu[0].diagonal().mean())
    for out in range(OUT):  # the gradient of error and pull is zero along what is free
        rest = found.weight[0, out] @ products.uu[0] - products.yu[0, out]
        slope = rest + found.pull * size * (found.weight[0, out] - start[0, out])
        assert float(slope[mask[0, out]].abs().max() if mask[0, out].any() else 0) < 1e-9


def test_a_mask_of_ones_changes_nothing() -> None:
    u, y, weight = problem(noise=0.2)
    start = torch.zeros_like(weight)
    plain = answer(u, y, start, biased=True)
    masked = answer(u, y, start, biased=True, mask=torch.ones_like(weight, dtype=torch.bool))
    assert torch.equal(plain.weight, masked.weight)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, ENTRIES, 2 * ENTRIES])
def test_fewer_rows_than_unknowns_end_in_finite_numbers_no_worse_than_before(rows: int) -> None:
    u, y, weight = problem(rows, noise=0.5)
    start = weight + 0.1
    found = answer(u, y, start, biased=True)
    assert bool(found.weight.isfinite().all())
    assert found.after <= found.before + 1e-12
    if rows < 4:
        assert math.isinf(found.pull), "a half of one row chooses nothing"
        assert torch.equal(found.weight, start)


def test_where_the_weight_is_right_it_stays() -> None:
    """Rows of pure noise can only make it worse on rows held back."""
    u, y, weight = problem(24, noise=5.0)
    found = answer(u, y, weight, biased=True)
    assert math.isinf(found.pull) or found.pull == PULLS[-1]


@pytest.mark.parametrize("level", [0.0, 1.0, 1e6])
def test_constant_entries_are_taken_by_the_bias(level: float) -> None:
    u, y, weight = problem()
    found = answer(torch.full_like(u, level), y, weight, biased=True)
    assert bool(found.weight.isfinite().all())
    assert found.bias is not None
    said = found.weight[0] @ torch.full((ENTRIES,), level, dtype=torch.float64) + found.bias[0]
    torch.testing.assert_close(said, y[:, 0].mean(0), rtol=1e-6, atol=1e-6)


def test_large_means_of_single_precision_end_in_a_safe_answer() -> None:
    """What varies is lost in rounding: no positive system, or one that is."""
    u, y, weight = problem()
    u = (u * 1e-5 + 1e4).float()
    found = answer(u, y.float(), weight, biased=True)
    assert bool(found.weight.isfinite().all())


def test_by_means_alone_the_weight_stays_and_the_bias_makes_up_for_it() -> None:
    u, y, weight = problem(noise=0.1)
    start = weight * 0.5
    found = solved(*halves(u, y, means=True), start, biased=True)
    assert torch.equal(found.weight, start)
    assert found.bias is not None
    said = torch.einsum("goe,rge->rgo", start, u) + found.bias
    torch.testing.assert_close(said.mean(0), y.mean(0))
    plain = solved(*halves(u, y, means=True), start, biased=False)
    assert plain.bias is None
    assert plain.after <= plain.before
