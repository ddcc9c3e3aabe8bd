"""A cap on a cost that is no polynomial: never exceeded, and bounded by what it is never below."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.allocation.shapes import chain
from compressor.allocation import PowerMean, allocate
from compressor.allocation.bounded import Bounded
from compressor.allocation.problem import Integers
from compressor.budget import Budget
from compressor.errors import BudgetError
from compressor.graph.graph import Graph, Polynomial
from tests.allocation.test_memory import value_of
from tests.helpers.cases import cases

GAINS = PowerMean(1)


class Shared(Bounded):
    """Parameters, 8 bytes for each width that another axis does not have, and some at random."""

    def __init__(self, graph: Graph, seed: int) -> None:
        self.params, self.seed = graph.params, seed

    def __call__(self, widths: Integers) -> int:
        found = [int(n) for n in widths]
        noise = np.random.default_rng([self.seed, *found]).integers(0, 40)
        return self.params(widths) + 8 * sum({*found}) + int(noise)

    def told(self, widths: Integers) -> str:
        return f"{self(widths):,} and no less"

    def rows(self, largest: Integers, cap: int) -> dict[str, Polynomial]:
        del largest, cap
        return {"least": self.params}

    def exceeded(self, widths: Integers, smallest: Integers, cap: int) -> dict[str, Polynomial]:
        more = min(self(widths) - self.params(widths), cap - self.params(smallest))
        const = self.params.const + more
        return {f"{more} more": replace(self.params, const=const)} if self(widths) > cap else {}


@settings(max_examples=cases(20, 400), deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0, 1),
    st.sampled_from(["dual", "uniform", "exact"]),
    st.lists(st.integers(2, 6), min_size=2, max_size=3),
)
def test_the_cap_is_met_and_no_bound_is_beaten(
    seed: int, share: float, method: str, sizes: list[int]
) -> None:
    graph = chain(sizes)
    held = Shared(graph, seed)
    ones = np.ones_like(graph.sizes)
    cap = int(held(ones) + share * max(held(graph.sizes) - held(ones), 0))
    scores = np.random.default_rng(seed).random(graph.units) + 0.1
    budget, costs = Budget(bytes=cap), {"bytes": held}
    found = allocate(graph, scores, budget, method=method, objective=GAINS, costs=costs)
    assert held(found.widths) <= cap
    assert found.unused["bytes"] == (cap - held(found.widths)) / cap
    every = itertools.product(*(range(1, int(size) + 1) for size in graph.sizes))
    fits = [np.array(widths) for widths in every if held(np.array(widths)) <= cap]
    best = max(value_of(graph, scores, GAINS, widths) for widths in fits)
    assert found.value <= best + 1e-9 * (1 + abs(best))
    assert found.bound is None or found.bound >= best - 1e-6 * (1 + abs(best))


def test_what_cannot_be_reached_is_told_in_its_own_words() -> None:
    graph = chain([4, 4])
    held = Shared(graph, 0)
    least = held(np.ones_like(graph.sizes))
    with pytest.raises(BudgetError, match=f"the smallest structure has {least:,} and no less"):
        allocate(graph, np.ones(graph.units), Budget(bytes=least - 1), costs={"bytes": held})
    found = allocate(graph, np.ones(graph.units), Budget(bytes=least), costs={"bytes": held})
    assert held(found.widths) <= least
