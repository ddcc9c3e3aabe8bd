"""One option for every tensor under one cap, against every combination there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import block_diag
from scipy.optimize import linprog

from compressor.allocation.knapsack import choose_options
from compressor.errors import BudgetError

OPTION = st.tuples(st.integers(0, 30), st.integers(0, 50))
TENSORS = st.lists(st.lists(OPTION, min_size=1, max_size=5), min_size=1, max_size=5)


def columns(tensors: list[list[tuple[int, int]]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    costs = [np.array([c for c, _ in options], dtype=np.int64) for options in tensors]
    return costs, [np.array([x for _, x in options], dtype=float) for options in tensors]


@given(TENSORS, st.integers(0, 120))
def test_within_the_cap_and_nothing_better_fits(
    tensors: list[list[tuple[int, int]]], cap: int
) -> None:
    costs, losses = columns(tensors)
    every = [
        (sum(c for c, _ in combination), sum(x for _, x in combination))
        for combination in product(*tensors)
    ]
    within = [loss for cost, loss in every if cost <= cap]
    if not within:
        with pytest.raises(BudgetError, match="cheapest options"):
            choose_options(costs, losses, cap)
        return
    found = choose_options(costs, losses, cap)
    assert sum(int(c[k]) for c, k in zip(costs, found, strict=True)) <= cap
    loss = sum(float(x[k]) for x, k in zip(losses, found, strict=True))
    assert loss >= min(within)
    assert all(
        x[k] <= x[other] or cap < sum(int(c[k]) for c, k in zip(costs, found, strict=True)) + d
        for c, x, k in zip(costs, losses, found, strict=True)
        for other, d in enumerate((c - c[k]).tolist())
    ), "nothing better fits"


def relaxed(costs: list[np.ndarray], losses: list[np.ndarray], cap: int) -> float:
    """The least loss where options can be mixed: no choice is below it."""
    one = block_diag(*(np.ones((1, len(c))) for c in costs))
    found = linprog(
        np.concatenate(losses), A_ub=[np.concatenate(costs)], b_ub=[cap],
        A_eq=one, b_eq=np.ones(len(costs)),
    )  # fmt: skip
    return float(found.fun)


def test_near_the_bound_where_there_are_many() -> None:
    """The relaxation is off by at most one step of one tensor."""
    random = np.random.default_rng(0)
    for _ in range(20):
        sizes = random.integers(100, 5_000, 30)
        bits = np.array([1, 2, 3, 4, 6, 8])
        costs = [size * bits for size in sizes]
        losses = [random.uniform(0.5, 2) * size * 4.0**-bits for size in sizes]
        cap = int(sizes.sum() * random.uniform(1.5, 7))
        found = choose_options(costs, losses, cap)
        loss = sum(float(x[k]) for x, k in zip(losses, found, strict=True))
        assert loss <= 1.02 * relaxed(costs, losses, cap)
