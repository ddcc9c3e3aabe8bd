"""The parts of the dual: hulls, elimination, prices, and over-estimates. Oracle: brute force."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from benchmarks.allocation.shapes import chain
from compressor.allocation.conjugates import conjugate, outermost
from compressor.allocation.elimination import Inner, maximise, plan
from compressor.allocation.forms import compile_forms
from compressor.allocation.logwidths import LogWidths
from compressor.allocation.multipliers import Master
from compressor.allocation.objective import LogRetention
from compressor.allocation.problem import Problem
from compressor.allocation.relaxation import describe, exact_oracle, make_plan, respond
from compressor.allocation.request import make_problem
from compressor.budget import Budget
from compressor.graph.graph import Graph
from tests.helpers.graphs import every_point, graphs, scores

Floats = NDArray[np.float64]
HEIGHTS = st.floats(-100, 100, allow_nan=False, width=32)


def curve(kind: str, size: int) -> Floats:
    """Functions that are hard for a hull."""
    x = np.arange(size, dtype=np.float64)
    walk = np.random.default_rng(size).normal(size=size)
    return {
        "concave": np.sqrt(x),
        "convex": x**2,
        "concave, then a high end": np.sqrt(x) + (x == size - 1) * 1e3,
        "concave, then convex": np.where(x < size // 2, np.sqrt(x), (x / size) ** 4 * 40),
        "noise": walk,
        "walk": np.cumsum(walk),
        "line": 2 * x,
    }[kind]


CURVES = (
    "concave",
    "convex",
    "concave, then a high end",
    "concave, then convex",
    "noise",
    "walk",
    "line",
)


@settings(deadline=None)
@given(
    st.lists(HEIGHTS, min_size=1, max_size=30),
    st.lists(st.integers(1, 5), min_size=30, max_size=30),
    st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=10),
)
def test_conjugate_is_the_maximum_over_all_points(
    heights: list[float], gaps: list[int], prices: list[float]
) -> None:
    h = np.array(heights)
    v = np.cumsum(gaps)[: len(h)].astype(np.float64)
    p = np.array(prices)
    direct = (h[:, None] - p * v[:, None]).max(axis=0)
    assert conjugate(v, h)(p) == pytest.approx(direct, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("size", [1, 2, 3, 50, 701])
def test_hull_is_concave_and_above_all_points(kind: str, size: int) -> None:
    v, h = np.arange(1.0, size + 1), curve(kind, size)
    hull = conjugate(v, h)
    assert (np.diff(hull.falls) > 0).all()
    assert hull.corners[0] == 0
    assert hull.corners[-1] == size - 1
    above = np.interp(v, hull.widths, hull.heights)
    assert (above >= h - 1e-9 * np.abs(h).max()).all()


@pytest.mark.parametrize("kind", CURVES)
def test_halving_keeps_every_corner(kind: str) -> None:
    v, h = np.arange(1.0, 402), curve(kind, 401)
    assert set(conjugate(v, h).corners) <= set(outermost(v, h))


@st.composite
def inners(draw: st.DrawFn) -> Inner:
    """Up to six axes of up to four places, any of them tied; cliques included."""
    count = draw(st.integers(1, 6))
    sizes = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs = list(itertools.combinations(range(count), 2))
    tied = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    widths = [np.cumsum(generator.integers(1, 4, n)).astype(np.float64) for n in sizes]
    unary = [generator.normal(0.0, 10.0, n) for n in sizes]
    # In half of the cases the lower axis comes second: a pair is found in either order.
    ends = [(j, i) if generator.random() < 0.5 else (i, j) for i, j in tied]
    return Inner(widths, unary, {pair: float(generator.exponential()) for pair in ends})


def value_at(inner: Inner, places: Sequence[int]) -> float:
    v = [float(w[k]) for w, k in zip(inner.widths, places, strict=True)]
    unary = sum(float(u[k]) for u, k in zip(inner.unary, places, strict=True))
    return unary - sum(c * v[i] * v[j] for (i, j), c in inner.products.items())


@settings(deadline=None)
@given(inners())
def test_elimination_equals_brute_force(inner: Inner) -> None:
    sizes = [len(width) for width in inner.widths]
    order = plan(sizes, inner.products, 10**6)
    assert order is not None
    value, places = maximise(inner, order)
    best = max(value_at(inner, p) for p in itertools.product(*map(range, sizes)))
    assert value == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert value_at(inner, places.tolist()) == pytest.approx(best, rel=1e-9, abs=1e-9)


def test_large_tables_are_maximised_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    pairs = itertools.combinations(range(4), 2)
    widths = [np.arange(1.0, 8)] * 4
    unary = [generator.normal(0.0, 30.0, 7) for _ in range(4)]
    inner = Inner(widths, unary, {pair: float(generator.random()) for pair in pairs})
    order = plan([7] * 4, inner.products, 10**6)
    assert order is not None
    whole = maximise(inner, order)
    monkeypatch.setattr("compressor.allocation.elimination.BLOCK", 60)
    sliced = maximise(inner, order)
    assert sliced[0] == whole[0]
    assert (sliced[1] == whole[1]).all()


def test_plan_of_a_chain_is_linear_and_of_a_clique_is_refused() -> None:
    chain = plan([1000] * 50, [(i, i + 1) for i in range(49)], 2 * 50 * 1000)
    assert chain is not None
    assert all(not step.tables for step in chain)
    assert plan([100] * 10, itertools.combinations(range(10), 2), 10**7) is None


def problem_of(graph: Graph, seed: int, share: float = 0.5) -> Problem:
    """A problem with three caps, each a share of the way from the smallest to the full cost."""
    low = np.ones(len(graph.axes), dtype=np.int64)
    low = np.where([bool(axis.frozen) for axis in graph.axes], graph.sizes, low)
    caps = {
        name: form(low) + int(share * (form(graph.sizes) - form(low)))
        for name, form in (("params", graph.params), ("macs", graph.macs), ("bytes", graph.bytes))
    }
    return make_problem(
        graph, scores(graph, seed), Budget(**caps), LogRetention(), floor=1, round_to=1, keep=()
    )


@settings(deadline=None)
@given(graphs(), st.integers(0, 10**6))
def test_forms_price_every_point_and_every_step_exactly(graph: Graph, seed: int) -> None:
    problem = problem_of(graph, seed)
    forms = compile_forms(problem)
    generator = np.random.default_rng(seed)
    for _ in range(5):
        places = generator.integers(0, forms.counts) if len(forms.free) else forms.counts
        widths = forms.width(places) if len(places) else places
        everywhere = problem.smallest
        everywhere[forms.free] = widths
        exact = list(problem.spent(everywhere).values())
        assert forms.cost(widths).tolist() == exact
        steps = generator.integers(-3, 4, len(widths))
        change = forms.change(widths, forms.marginal(widths), forms.bend(widths), steps)
        for k in range(len(widths)):
            moved = everywhere.copy()
            moved[forms.free[k]] += steps[k]
            after = list(problem.spent(moved).values())
            assert change[:, k].tolist() == [b - a for a, b in zip(exact, after, strict=True)]


@settings(deadline=None)
@given(graphs(), st.integers(0, 10**6), st.lists(st.floats(0, 5), min_size=3, max_size=3))
def test_every_oracle_is_at_least_the_lagrangian_of_every_point(
    graph: Graph, seed: int, prices: list[float]
) -> None:
    forms = compile_forms(problem_of(graph, seed))
    if not len(forms.free):
        return
    y = np.array(prices)
    grid = itertools.product(*(range(n) for n in forms.counts.tolist()))
    points = [describe(forms, np.array(places)) for places in grid]
    best = max(point.gain - y @ point.excess for point in points)
    order = make_plan(forms, forms.counts, 10**7)
    assert order is not None
    exact, seen = exact_oracle(forms, order)(y)
    assert exact == pytest.approx(best, abs=1e-8)
    assert seen.gain - y @ seen.excess == pytest.approx(best, abs=1e-8)
    assert LogWidths(forms).oracle()(y)[0] >= best - 1e-8


@settings(deadline=None)
@given(graphs(), st.integers(0, 10**6))
def test_best_responses_never_lower_the_lagrangian(graph: Graph, seed: int) -> None:
    forms = compile_forms(problem_of(graph, seed))
    if not len(forms.free):
        return
    generator = np.random.default_rng(seed)
    y, places = generator.exponential(1.0, 3), generator.integers(0, forms.counts)
    before, after = describe(forms, places), describe(forms, respond(forms, y, places))
    assert after.gain - y @ after.excess >= before.gain - y @ before.excess - 1e-9


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 12))
def test_master_finds_the_lowest_point_of_the_planes(seed: int, caps: int, planes: int) -> None:
    generator = np.random.default_rng(seed)
    gains = np.append(-10.0, generator.normal(0.0, 3.0, planes))
    excess = np.vstack((-generator.random(caps), generator.normal(0.0, 1.0, (planes, caps))))
    master = Master(float(gains[0]), excess[0])
    for gain, s in zip(gains[1:], excess[1:], strict=True):
        master.add(float(gain), s)
        master.solve()
    prices, height = master.solve()
    # min t  so that  t >= gain - y · s  for every plane, y >= 0
    rows = np.hstack((-excess, -np.ones((len(gains), 1))))
    bounds = [(0, None)] * caps + [(None, None)]
    oracle = linprog([0.0] * caps + [1.0], A_ub=rows, b_ub=-gains, bounds=bounds)
    assert height == pytest.approx(oracle.fun, abs=1e-7)
    assert (gains - excess @ prices).max() == pytest.approx(height, abs=1e-7)
    assert (prices >= 0).all()


def test_brute_force_sees_every_point() -> None:
    problem = problem_of(chain((4, 4, 3)), 0)
    assert len({tuple(widths) for widths in every_point(problem)}) == 4 * 4 * 3
