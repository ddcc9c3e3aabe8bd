"""As many units go as are combinations of others, and what stays says all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressor.repair.dependence import NOTHING, Exact, combined, prices_of_going
from tests.helpers.cases import cases


def reader(rows: Tensor, weight: Tensor, taps: int = 1) -> Exact:
    """A layer that is given these rows, with so many entries a unit."""
    system = rows.T @ rows / len(rows)
    spread = float(((weight @ system) * weight).sum()) or 1.0
    owned = {u: torch.arange(u * taps, (u + 1) * taps) for u in range(rows.shape[1] // taps)}
    return Exact(weight, system, owned, spread, 1e-13 * (float(system.diagonal().mean()) or 1.0))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def left(size: int, *readers: Exact, among: list[int] | None = None) -> list[int]:
    """Units that are needed."""
    may = np.isin(np.arange(size), among) if among is not None else np.ones(size, dtype=bool)
    return np.flatnonzero(prices_of_going(size, readers, may) > NOTHING).tolist()


def said(one: Exact, kept: list[int], rows: Tensor) -> float:
    """Error of the best weight on what is kept, in parts of the spread."""
    entries = torch.cat([one.entries[unit] for unit in kept])
    y = rows @ one.weight.T
    best = torch.linalg.lstsq(rows[:, entries], y, driver="gelsd").solution
    return float((rows[:, entries] @ best - y).square().sum() / y.square().sum())


@settings(deadline=None, max_examples=cases(40, 300))
@given(
    rank=st.integers(1, 6), more=st.integers(0, 6), outputs=st.integers(7, 20),
    scale=st.sampled_from([1.0, 1e3, 1e-4]), seed=st.integers(0, 1000),
)  # fmt: skip
def test_as_many_stay_as_there_are_dimensions(
    rank: int, more: int, outputs: int, scale: float, seed: int
) -> None:
    rows = normal(200, rank, seed=seed) @ normal(rank, rank + more, seed=seed + 1) * scale
    one = reader(rows, normal(outputs, rank + more, seed=seed + 2))
    kept = left(rank + more, one)
    assert len(kept) == np.linalg.matrix_rank(rows.numpy()) == rank
    assert said(one, kept, rows) < 1e-12


@pytest.mark.parametrize("taps", [1, 3])
def test_units_of_several_entries_go_where_all_of_them_can(taps: int) -> None:
    base = normal(300, 4 * taps)
    both = torch.cat([base, base[:, :taps] - 2 * base[:, taps : 2 * taps]], 1)
    one = reader(both, normal(9, 5 * taps), taps)
    kept = left(5, one)
    assert len(kept) == 4
    assert {2, 3} <= set(kept)
    assert said(one, kept, both) < 1e-12


def test_a_dependence_in_one_reader_alone_removes_nothing() -> None:
    free, bound = normal(100, 5), normal(100, 3) @ normal(3, 5, seed=1)
    weights = normal(6, 5), normal(6, 5, seed=2)
    assert len(left(5, reader(bound, weights[0]))) == 3
    assert left(5, reader(bound, weights[0]), reader(free, weights[1])) == [0, 1, 2, 3, 4]


def test_what_is_zero_or_not_read_goes_together_at_once() -> None:
    rows, weight = normal(100, 8), normal(4, 8)
    rows[:, [1, 5]], weight[:, [2, 6]] = 0, 0
    assert left(8, reader(rows, weight)) == [0, 3, 4, 7]
    rows[:] = 0
    assert left(8, reader(rows, weight)) == []


def test_of_two_alike_the_one_that_may_go_does() -> None:
    rows = normal(100, 4)
    rows[:, 3] = 3 * rows[:, 1]
    one = reader(rows, normal(5, 4))
    assert left(4, one, among=[1]) == [0, 2, 3]
    assert left(4, one, among=[3]) == [0, 1, 2]
    assert left(4, one, among=[]) == [0, 1, 2, 3]
    assert len(left(4, one)) == 3


def test_what_is_nearly_alike_stays() -> None:
    rows = normal(100, 4)
    rows[:, 3] = rows[:, 1] + 1e-3 * normal(100, seed=5)
    assert left(4, reader(rows, normal(5, 4))) == [0, 1, 2, 3]


def test_entries_of_two_units_are_told() -> None:
    one = reader(normal(50, 4), normal(3, 4), 2)
    assert not one.shares
    assert Exact(
        one.weight, one.system, {0: torch.tensor([0, 1]), 1: torch.tensor([1])}, 1, 0
    ).shares


@pytest.mark.parametrize("spread", [1.0, 1e12])
def test_combinations_are_those_of_least_squares(spread: float) -> None:
    """Where sizes are as far apart that a ridge is rounded off, too."""
    rows = normal(60, 6)
    rows[:, 0] *= spread
    rows[:, 1] = rows[:, 0]
    system = rows.T @ rows / 60
    found = combined(system[:5, :5], system[:5, 5:])
    assert bool(found.isfinite().all())
    best = torch.linalg.lstsq(rows[:, :5], rows[:, 5:], driver="gelsd").solution
    if spread == 1.0:
        torch.testing.assert_close(rows[:, :5] @ found, rows[:, :5] @ best, rtol=1e-6, atol=1e-6)
