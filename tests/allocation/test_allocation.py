"""Allocation: caps are never exceeded, bounds are bounds, and what is said of the result is so."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from benchmarks.allocation.shapes import NETWORKS, chain
from compressor.allocation import (
    Additive,
    LogRetention,
    LogWidth,
    Mix,
    Objective,
    PowerMean,
    allocate,
    dual,
)
from compressor.allocation.lagrangian import Effort
from compressor.allocation.problem import allowed_widths
from compressor.allocation.request import make_problem
from compressor.budget import Budget
from compressor.graph.graph import Graph
from tests.helpers.cases import cases
from tests.helpers.graphs import (
    Layer,
    budget,
    build,
    every_point,
    graphs,
    layers,
    optimum,
    recount,
    scores,
    smallest,
)

SEEDS = st.integers(0, 2**31)
SHARES = st.floats(0, 1.05)
RESOURCES = ("params", "macs", "bytes", "nonzero")
OBJECTIVES: list[Objective] = [
    LogRetention(), LogWidth(), Mix(0.3), PowerMean(1), PowerMean(2.5), Additive(),
]  # fmt: skip
CAPPED = st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=4, unique=True)


@pytest.mark.slow
@settings(
    max_examples=cases(1_000, 10_000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    graphs(),
    SEEDS,
    CAPPED,
    st.lists(SHARES, min_size=4, max_size=4),
    st.sampled_from(["dual", "dual", "uniform"]),
    st.sampled_from(OBJECTIVES),
    st.integers(1, 4),
    st.integers(1, 4),
)
@example(  # the optimum is met: two sums of the same numbers, rounded apart
    graph=build([Layer("conv", size, 1, at, 1) for size, at in ((3, 1), (5, 3), (1, 1), (2, 1))]),
    seed=91,
    capped=["macs"],
    shares=[0.0] * 4,
    method="dual",
    objective=Additive(),
    floor=1,
    round_to=4,
)
def test_caps_are_never_exceeded(
    graph: Graph,
    seed: int,
    capped: list[str],
    shares: list[float],
    method: str,
    objective: Objective,
    floor: int,
    round_to: int,
) -> None:
    caps = budget(graph, capped, shares, smallest(graph, floor, round_to))
    found = allocate(
        graph,
        scores(graph, seed),
        caps,
        method=method,
        objective=objective,
        floor=floor,
        round_to=round_to,
    )
    widths = found.structure.widths
    assert (found.widths == widths).all()
    for resource, cap in caps.caps.items():
        spent = recount(found.structure, resource)
        assert spent <= cap
        assert found.unused[resource] == pytest.approx((cap - spent) / cap)
    for axis, width in zip(graph.axes, widths.tolist(), strict=True):
        allowed = [axis.size] if axis.frozen else allowed_widths(axis.size, floor, round_to)
        assert width in allowed
    if found.bound is not None:
        assert found.bound >= found.value
        assert found.gap is not None
        assert 0 <= found.gap <= 1


@given(
    graphs(largest=5, most=4),
    SEEDS,
    CAPPED,
    st.lists(SHARES, min_size=4, max_size=4),
    st.sampled_from(OBJECTIVES),
    st.sampled_from([Effort(), Effort(easy_work=0), Effort(0, enough=0.0), Effort(0, 0)]),
)
@settings(max_examples=150, deadline=None)
def test_bound_is_above_the_optimum_and_the_optimum_above_the_value(
    graph: Graph,
    seed: int,
    capped: list[str],
    shares: list[float],
    objective: Objective,
    effort: Effort,
) -> None:
    problem = make_problem(
        graph,
        scores(graph, seed),
        budget(graph, capped, shares),
        objective,
        floor=1,
        round_to=1,
        keep=(),
    )
    found = dual(problem, effort)
    best = optimum(problem)
    assert found.bound is not None
    assert problem.fits(found.widths)
    assert found.bound >= best - 1e-9 * (1 + abs(best))
    assert problem.value(found.widths) <= best + 1e-9 * (1 + abs(best))


@given(graphs(), SEEDS, CAPPED, st.lists(SHARES, min_size=4, max_size=4), st.floats(0, 0.3))
@settings(max_examples=100, deadline=None)
def test_a_larger_budget_never_lowers_the_bound(
    graph: Graph, seed: int, capped: list[str], shares: list[float], more: float
) -> None:
    values = scores(graph, seed)
    wide = [share + more for share in shares]
    tight = allocate(graph, values, budget(graph, capped, shares))
    loose = allocate(graph, values, budget(graph, capped, wide))
    assert tight.bound is not None
    assert loose.bound is not None
    weight = sum(axis.writers for axis in graph.axes)
    assert loose.bound >= tight.bound - 3e-5 * weight, "beyond the precision of the dual"


@given(
    graphs(),
    SEEDS,
    CAPPED,
    st.lists(SHARES, min_size=4, max_size=4),
    st.sampled_from(["dual", "uniform"]),
    st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_nothing_more_fits(
    graph: Graph, seed: int, capped: list[str], shares: list[float], method: str, round_to: int
) -> None:
    caps = budget(graph, capped, shares, smallest(graph, 1, round_to))
    found = allocate(graph, scores(graph, seed), caps, method=method, round_to=round_to)
    stopped: set[str] = set()
    for number, axis in enumerate(graph.axes):
        allowed = allowed_widths(axis.size, 1, round_to)
        wider = allowed[allowed > found.widths[number]]
        if axis.frozen or not len(wider):
            continue
        widths = found.widths.copy()
        widths[number] = wider[0]
        forms = {r: getattr(graph, "params" if r == "nonzero" else r) for r in caps.caps}
        over = {r for r, cap in caps.caps.items() if forms[r](widths) > cap}
        assert over, f"{axis.name} could still grow"
        stopped |= over
    priced = {resource for resource, price in found.prices.items() if price > 0}
    assert stopped <= set(found.binding) <= stopped | priced


@pytest.mark.parametrize("network", ["chain10", "chain30", "BC-ResNet-ASC-8", "ResNet-18"])
@pytest.mark.parametrize("caps", [{"params": 0.3}, {"macs": 0.25}, {"params": 0.35, "macs": 0.35}])
def test_known_shapes_are_solved_nearly_and_use_their_caps(
    network: str, caps: dict[str, float]
) -> None:
    graph = NETWORKS[network]()
    full = {r: getattr(graph, r)(graph.sizes) for r in caps}
    limits = Budget(**{r: int(share * full[r]) for r, share in caps.items()})
    found = allocate(graph, scores(graph, 1), limits)
    assert found.gap is not None
    assert found.gap <= 0.005
    assert found.binding
    assert min(found.unused[resource] for resource in found.binding) <= 0.005
    assert all(found.prices[resource] < 1e-6 for resource in set(caps) - set(found.binding))


@pytest.mark.parametrize("network", ["ResNet-50", "DenseNet-121"])
@pytest.mark.parametrize("objective", [LogRetention(), PowerMean(), Additive()])
def test_wide_and_dense_couplings(network: str, objective: Objective) -> None:
    graph = NETWORKS[network]()
    full = {r: getattr(graph, r)(graph.sizes) for r in ("params", "macs")}
    limits = Budget(params=int(0.3 * full["params"]), macs=int(0.3 * full["macs"]))
    values = np.exp(np.random.default_rng(3).normal(0.0, 1.4, graph.units))
    found = allocate(graph, values, limits, objective=objective)
    assert found.gap is not None
    assert found.bound is not None
    assert 0 <= found.gap <= (0.05 if isinstance(objective, Additive) else 0.01)
    assert found.bound <= allocate(
        graph, values, Budget(params=full["params"])
    ).value or isinstance(objective, Additive)
    for resource, cap in limits.caps.items():
        assert recount(found.structure, resource) <= cap


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_the_mixed_integer_program(seed: int) -> None:
    pytest.importorskip("cvxpy")
    generator = np.random.default_rng(seed)
    kinds = generator.choice(["conv", "residual", "concat", "depthwise"], 12)
    numbers = generator.integers(1, 4, (12, 3))
    recipe = [
        Layer(str(kind), int(generator.integers(4, 24)), int(a), int(64 * b), int(c))
        for kind, (a, b, c) in zip(kinds, numbers, strict=True)
    ]
    graph = build(recipe)
    objective = OBJECTIVES[seed % len(OBJECTIVES)]
    caps = budget(graph, ["params", "macs"][: 1 + seed % 2], [0.15, 0.2])
    values = np.exp(generator.normal(0.0, 0.8, graph.units))
    options = {"objective": objective, "round_to": 1 + seed % 3}
    ours = allocate(graph, values, caps, **options)
    oracle = allocate(graph, values, caps, method="exact", **options)
    assert ours.bound is not None
    assert oracle.bound is not None
    scale = sum(axis.writers for axis in graph.axes)
    if isinstance(objective, Additive):
        scale = values.sum()
    assert oracle.value <= ours.bound + 1e-6 * scale
    assert ours.value <= oracle.bound + 1e-6 * scale
    assert ours.value >= oracle.value - 0.005 * scale


@given(graphs(largest=5, most=3), SEEDS, st.lists(SHARES, min_size=2, max_size=2))
@settings(max_examples=15, deadline=None)
def test_mixed_integer_program_finds_the_optimum(
    graph: Graph, seed: int, shares: list[float]
) -> None:
    pytest.importorskip("cvxpy")
    caps = budget(graph, ["params", "macs"], shares)
    values = scores(graph, seed)
    log = LogRetention()
    found = allocate(graph, values, caps, method="exact", objective=log)
    problem = make_problem(graph, values, caps, log, floor=1, round_to=1, keep=())
    assert found.bound is not None
    best = optimum(problem)
    assert found.value == pytest.approx(best, abs=1e-5)
    assert found.bound >= best - 1e-5


@given(layers(), SEEDS, CAPPED, st.lists(SHARES, min_size=4, max_size=4))
@settings(max_examples=80, deadline=None)
def test_a_network_that_fits_is_returned_whole(
    recipe: list[Layer], seed: int, capped: list[str], shares: list[float]
) -> None:
    graph = build(recipe)
    caps = budget(graph, capped, shares)
    once = allocate(graph, scores(graph, seed), caps)
    again = allocate(graph, scores(graph, seed), caps)
    assert (once.structure.keep == again.structure.keep).all()
    smaller = build(recipe, once.widths.tolist())
    twice = allocate(smaller, np.ones(smaller.units), caps)
    assert twice.structure.keep.all()
    assert twice.gap == 0
    assert twice.binding == ()


def test_prices_say_what_one_percent_more_would_bring() -> None:
    graph = NETWORKS["chain30"]()
    caps = {"params": graph.params(graph.sizes) // 3, "macs": graph.macs(graph.sizes) // 3}
    values = np.exp(np.random.default_rng(0).normal(0.0, 0.8, graph.units))
    here = allocate(graph, values, Budget(**caps))
    assert here.bound is not None
    for resource, cap in caps.items():
        more = {**caps, resource: int(1.01 * cap)}
        there = allocate(graph, values, Budget(**more))
        assert there.bound is not None
        # The bound is concave in the caps, so a price is the most that more of one can bring.
        assert there.bound - here.bound <= here.prices[resource] + 1e-3
        assert there.bound - here.bound >= 0.7 * here.prices[resource]


def test_price_of_a_cap_that_does_not_bind_is_zero() -> None:
    graph = chain((16, 16, 16))
    full = graph.macs(graph.sizes)
    found = allocate(graph, np.ones(48), Budget(params=900, macs=full))
    assert found.prices["macs"] == pytest.approx(0.0, abs=1e-9)
    assert found.prices["params"] > 0
    assert found.binding == ("params",)


@pytest.mark.parametrize(("network", "narrow"), [("chain10", 3e-3), ("BC-ResNet-ASC-8", 5e-4)])
@pytest.mark.parametrize("objective", [LogRetention(), PowerMean(), Additive()])
def test_every_effort_bounds_the_same_thing(
    network: str, narrow: float, objective: Objective
) -> None:
    graph = NETWORKS[network]()
    caps = Budget(params=graph.params(graph.sizes) // 3, macs=graph.macs(graph.sizes) // 3)
    values = np.exp(np.random.default_rng(5).normal(0.0, 0.8, graph.units))
    problem = make_problem(graph, values, caps, objective, floor=1, round_to=1, keep=())
    lowest = dual(problem).bound
    assert lowest is not None
    hard = Effort(easy_work=0, enough=0.0)
    tableless = Effort(easy_work=0, exact_work=0)
    for effort, loose in ((hard, 5e-5), (tableless, narrow)):
        bound = dual(problem, effort).bound
        assert bound is not None
        # No over-estimate is below the exact dual, but for the precision that it is solved to.
        assert bound >= lowest - 3e-5 * problem.scale
        if effort is not tableless or isinstance(objective, LogRetention):  # else it is loose
            assert bound <= lowest + loose * problem.scale


def test_gap_of_a_problem_seen_whole() -> None:
    graph = chain((5, 4, 5))
    values = np.random.default_rng(1).random(14)
    caps = Budget(params=200)
    log = LogRetention()
    problem = make_problem(graph, values, caps, log, floor=1, round_to=1, keep=())
    best = max(problem.value(w) for w in every_point(problem) if problem.fits(w))
    found = allocate(graph, values, caps, objective=log)
    assert found.gap is not None
    true_gap = 1 - math.exp(-(best - found.value) / 3)
    assert true_gap <= found.gap
