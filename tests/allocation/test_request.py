"""Allocation: its other methods, its objectives and options, and what it says when it cannot."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.allocation.shapes import NETWORKS, chain
from compressor.allocation import (
    Additive,
    LogRetention,
    LogWidth,
    Mix,
    Objective,
    Problem,
    Solution,
    allocate,
)
from compressor.allocation.problem import allowed_widths
from compressor.budget import Budget
from compressor.errors import BudgetError
from compressor.graph.graph import OUTPUT, Graph
from tests.helpers.graphs import Layer, budget, build, graphs, scores, smallest

SEEDS = st.integers(0, 2**31)
SHARES = st.floats(0, 1.05)
OBJECTIVES: list[Objective] = [LogRetention(), LogWidth(), Mix(0.3), Additive()]


@given(graphs(), SEEDS, SHARES)
@settings(max_examples=60, deadline=None)
def test_uniform_takes_the_largest_factor(graph: Graph, seed: int, share: float) -> None:
    caps = budget(graph, ["params"], [share])
    found = allocate(graph, scores(graph, seed), caps, method="uniform")
    # Widths only change where factor · size passes a half, so these factors see all there is.
    factors = {(k + 0.5) / n + 1e-9 for n in graph.sizes.tolist() for k in range(n)}
    fitting = smallest(graph)
    for factor in sorted(factors):
        widths = np.maximum(np.rint(factor * graph.sizes).astype(np.int64), smallest(graph))
        if graph.params(widths) > caps.caps["params"]:
            break
        fitting = widths
    assert (found.widths >= fitting).all(), "filling only adds"
    assert (found.bound is None) == (found.gap is None) == bool((found.widths < graph.sizes).any())


def test_uniform_uses_what_is_left() -> None:
    graph = chain((10, 10, 10))
    even = graph.params(np.array([5, 5, 5]))
    caps = Budget(params=graph.params(np.array([5, 6, 6])))
    found = allocate(graph, np.arange(30.0), caps, method="uniform")
    assert graph.params(found.widths) > even
    assert sorted(found.widths - 5) != [0, 0, 0]
    assert (found.widths >= 5).all()


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1e-320, 1e-3, 1.0, 7.5, 1e300]), min_size=1, max_size=12),
    st.sampled_from(OBJECTIVES),
    st.integers(1, 4),
)
def test_gains_are_finite_and_never_fall(
    values: list[float], objective: Objective, writers: int
) -> None:
    levels = np.arange(1, len(values) + 1)
    gains = objective.gains(np.array(values), levels, writers)
    assert np.isfinite(gains).all()
    assert (np.diff(gains) >= 0).all()
    if not isinstance(objective, Additive):
        assert gains[-1] == pytest.approx(0.0, abs=1e-12)
        assert gains[0] >= writers * math.log(1 / len(values)) - 1e-9


def test_objectives_by_hand() -> None:
    values, levels = np.array([1.0, 4.0, 3.0]), np.array([1, 2, 3])
    retention = [2 * math.log(4 / 8), 2 * math.log(7 / 8), 0.0]
    width = [2 * math.log(1 / 3), 2 * math.log(2 / 3), 0.0]
    mix = [0.25 * a + 0.75 * b for a, b in zip(retention, width, strict=True)]
    assert LogRetention().gains(values, levels, 2) == pytest.approx(retention)
    assert LogWidth().gains(values, levels, 2) == pytest.approx(width)
    assert Mix(0.25).gains(values, levels, 2) == pytest.approx(mix)
    assert Additive().gains(values, levels, 2) == pytest.approx([4.0, 7.0, 8.0])
    assert LogRetention().gap(-1.0, -0.5, 4.0) == pytest.approx(1 - math.exp(-0.125))
    assert Additive().gap(3.0, 4.0, 8.0) == pytest.approx(0.25)


def test_scores_of_zero_count_alike() -> None:
    gains = LogRetention().gains(np.zeros(4), np.array([1, 2, 4]), 1)
    assert gains == pytest.approx(np.log([0.25, 0.5, 1.0]))


def test_widths_that_are_allowed() -> None:
    assert allowed_widths(20, 3, 8).tolist() == [8, 16, 20]
    assert allowed_widths(16, 1, 8).tolist() == [8, 16]
    assert allowed_widths(17, 8, 4).tolist() == [8, 12, 16, 17]
    assert allowed_widths(17, 9, 4).tolist() == [12, 16, 17]
    assert allowed_widths(5, 1, 8).tolist() == [5]
    assert allowed_widths(4, 9, 1).tolist() == [4]
    assert allowed_widths(3, 0, 1).tolist() == [1, 2, 3]


def test_kept_layers_stay_whole() -> None:
    graph = NETWORKS["ResNet-18"]()
    caps = Budget(params=0.6 * graph.params(graph.sizes))
    found = allocate(graph, np.ones(graph.units), caps, keep=["stem", "3.1"])
    width = {a.name: w for a, w in zip(graph.axes, found.widths.tolist(), strict=True)}
    assert width["stem"] == 64
    assert width["3.1.conv1"] == 512
    assert width["3.0.conv1"] < 512
    by_norm = allocate(graph, np.ones(graph.units), caps, keep=["3.1.conv1.norm"])
    assert by_norm.widths[[a.name == "3.1.conv1" for a in graph.axes]] == 512
    untouched = allocate(graph, np.ones(graph.units), caps, keep=["classify"])
    assert (untouched.widths == allocate(graph, np.ones(graph.units), caps).widths).all()


def test_unknown_names_are_refused_with_the_closest() -> None:
    graph = chain((4, 4, 4))
    with pytest.raises(ValueError, match=r"keep='konv1'.*'conv1'"):
        allocate(graph, np.ones(12), Budget(params=10**9), keep=["konv1"])


def test_impossible_budget_names_what_stops_it() -> None:
    graph = chain((8, 16, 8))
    low = np.array([4, 16, 4])
    with pytest.raises(BudgetError) as caught:
        allocate(graph, np.ones(32), Budget(params=200, macs=10**4), floor=4, keep=["conv1"])
    text = str(caught.value)
    assert (
        f"params <= 200 cannot be reached: the smallest structure has {graph.params(low):,}" in text
    )
    assert f"{4 * 16 * 9:,} of them in 'conv1'" in text
    assert (
        f"macs <= 10,000 cannot be reached: the smallest structure has {graph.macs(low):,}" in text
    )
    assert "floor=4" in text
    assert "frozen axes: conv1" in text
    assert text.endswith("Raise the budget, lower floor or keep fewer layers whole.")


def test_smallest_reachable_budget_is_reached() -> None:
    graph = chain((8, 16, 8))
    least = graph.params(np.ones(3, dtype=np.int64))
    for method in ("dual", "uniform"):
        found = allocate(graph, np.ones(32), Budget(params=least), method=method)
        assert found.widths.tolist() == [1, 1, 1]
    with pytest.raises(BudgetError, match=r"floor=1, no frozen axes\)\. Raise the budget\."):
        allocate(graph, np.ones(32), Budget(params=least - 1))


def test_results_that_hold_a_layer_whole_are_named() -> None:
    graph = chain((8, 16, 8))
    alone = replace(graph, frozen={"head": OUTPUT})
    with pytest.raises(BudgetError, match=r"\(floor=1, no frozen axes\)\. Raise the budget\.$"):
        allocate(alone, np.ones(32), Budget(params=1))
    several = f"{OUTPUT}, one of 2 (net.py:57: e = self.drop(x))"
    two = replace(graph, frozen={"head": f"{OUTPUT}, one of 2", "pw": several})
    with pytest.raises(BudgetError) as caught:
        allocate(two, np.ones(32), Budget(params=1))
    assert "no frozen axes" not in str(caught.value)
    assert f"pw stays whole: {several})" in str(caught.value)
    assert str(caught.value).endswith("Raise the budget or have forward return fewer results.")


def test_a_network_of_frozen_axes_alone() -> None:
    graph = build([Layer("frozen", 4, 1, 2, 1), Layer("frozen", 3, 2, 2, 1)])
    found = allocate(graph, np.ones(7), Budget(params=graph.params(graph.sizes)))
    assert found.structure.keep.all()
    with pytest.raises(BudgetError, match="frozen axes: layer0, layer1"):
        allocate(graph, np.ones(7), Budget(params=graph.params(graph.sizes) - 1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(11), r"shape \(12,\), not \(11,\)"),
        (np.r_[np.ones(5), -1.0, np.ones(6)], "the first is -1.0 at unit 1 of 'conv1'"),
        (np.r_[np.ones(11), np.nan], "the first is nan at unit 3 of 'conv2'"),
        (np.full(12, 1e308), "sum is not finite"),
        (lambda _: np.ones(12), "is a function, and must be its result"),
    ],
)
def test_scores_that_make_no_sense(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allocate(chain((4, 4, 4)), values, Budget(params=200))


def test_options_that_make_no_sense() -> None:
    graph, caps = chain((4, 4, 4)), Budget(params=200)
    with pytest.raises(ValueError, match=r"floor=0.*at least 1"):
        allocate(graph, np.ones(12), caps, floor=0)
    with pytest.raises(ValueError, match=r"round_to=0.*at least 1"):
        allocate(graph, np.ones(12), caps, round_to=0)
    with pytest.raises(ValueError, match=r"method='best'.*'dual', 'uniform'"):
        allocate(graph, np.ones(12), caps, method="best")
    with pytest.raises(ValueError, match=r"method='threshold'.*FilterPruning\(allocator='thr"):
        allocate(graph, np.ones(12), caps, method="threshold")
    with pytest.raises(ValueError, match=r"share=1.5.*between 0 and 1"):
        Mix(1.5)


def test_exact_refuses_large_networks_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = NETWORKS["chain30"]()
    with pytest.raises(ValueError, match=r"at most 15 axes.*has 30"):
        allocate(graph, np.ones(graph.units), Budget(params=10**5), method="exact")
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r"pip install \"compressor-nn\[exact\]\""):
        allocate(chain((4, 4, 4)), np.ones(12), Budget(params=200), method="exact")


def test_a_method_of_ones_own_is_recounted() -> None:
    graph, caps = chain((4, 4, 4)), Budget(params=200)

    def narrowest(problem: Problem, graph: Graph, scores: object) -> Solution:
        del graph, scores
        return Solution(problem.smallest)

    def greedy(problem: Problem, graph: Graph, scores: object) -> Solution:
        del graph, scores
        return Solution(problem.largest)

    found = allocate(graph, np.ones(12), caps, method=narrowest)
    assert found.method == "narrowest"
    assert found.widths.tolist() == [1, 1, 1]
    with pytest.raises(RuntimeError, match="'greedy' returned a structure"):
        allocate(graph, np.ones(12), caps, method=greedy)


def test_best_units_stay() -> None:
    graph = chain((6, 6, 6))
    values = np.random.default_rng(0).permutation(18).astype(np.float64)
    found = allocate(graph, values, Budget(params=0.5 * graph.params(graph.sizes)))
    for axis in graph.axes:
        kept, own = found.structure.keep[axis.units], values[axis.units]
        assert kept.any()
        assert own[kept].min() > own[~kept].max(initial=-1.0)


@pytest.mark.parametrize("wrong", ["1", 1.5, 0, None, True])
def test_floors_that_are_no_whole_numbers(wrong: object) -> None:
    graph = chain((4, 4))
    for name in ("floor", "round_to"):
        with pytest.raises(ValueError, match=rf"allocate\({name}=.*\): must be a whole number"):
            allocate(graph, np.ones(8), Budget(params=10), **{name: wrong})


def test_a_model_in_the_place_of_its_graph() -> None:
    with pytest.raises(
        ValueError, match=r"needs a graph first and got a Linear: pass compressor\.tr"
    ):
        allocate(nn.Linear(2, 2), np.ones(2), Budget(params=10))
