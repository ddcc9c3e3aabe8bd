"""Caps on working memory: never exceeded, joint with others, bounded, one name for all rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.allocation.shapes import chain
from compressor.allocation import PowerMean, Problem, Solution, allocate, dual
from compressor.allocation.joining import FEW
from compressor.allocation.memory import Block, Memory, Moment, total, undominated
from compressor.allocation.problem import allowed_widths
from compressor.budget import Budget
from compressor.errors import BudgetError
from compressor.graph.graph import Axis, Graph, Polynomial
from tests.helpers.graphs import graphs, scores, smallest
from tests.helpers.memories import cap, memory

SEEDS = st.integers(0, 2**31)
SHARES = st.floats(0, 1.05)
METHODS = ("dual", "uniform", "exact")
WIDTHS = st.lists(st.integers(1, 9), min_size=3, max_size=3).map(np.array)
SEVENS = Memory(
    (Moment("a", (Block("t", Polynomial(0, (7, 0))), Block("u", Polynomial(0, (0, 7))))),)
)
"""Two tensors of so many bytes a channel: rounding decides."""
NUMBERS = st.integers(0, 50)


def blocks() -> st.SearchStrategy[Block]:
    linear = st.tuples(NUMBERS, NUMBERS, NUMBERS)
    return st.builds(lambda const, each: Block("t", Polynomial(const, each)), NUMBERS, linear)


@given(blocks(), WIDTHS)
def test_what_rounding_adds_is_bounded_closely(block: Block, widths: np.ndarray) -> None:
    size, room, most = block.size(widths), block.room(widths), block.most(widths)
    assert room % 16 == 0
    assert size <= room < size + 16
    assert room <= most < size + 16 + (size == 0)


@given(st.lists(blocks(), min_size=1, max_size=4), WIDTHS)
def test_a_total_is_the_sum(some: list[Block], widths: np.ndarray) -> None:
    assert total(b.size for b in some)(widths) == sum(b.size(widths) for b in some)


def test_a_total_adds_products_of_widths() -> None:
    one = Polynomial(1, (2, 3), ((0, 1),), (5,), ((0, 0, 1),), (2,))
    other = Polynomial(1, (0, 1), ((0, 0), (0, 1)), (7, 1))
    widths = np.array([3, 4])
    assert total([one, other])(widths) == one(widths) + other(widths)


@given(st.lists(blocks(), min_size=1, max_size=6), WIDTHS)
def test_what_is_dominated_never_decides(some: list[Block], widths: np.ndarray) -> None:
    costs = {str(n): block.size for n, block in enumerate(some)}
    kept = undominated(costs)
    assert max(c(widths) for c in kept.values()) == max(c(widths) for c in costs.values())


def test_equal_costs_are_kept_once() -> None:
    cost = Polynomial(1, (2,))
    assert list(undominated({"a": cost, "b": cost})) == ["a"]


@given(graphs(largest=5, most=4), SEEDS, SEEDS, SHARES, SHARES, st.sampled_from(METHODS))
@settings(max_examples=80, deadline=None)
def test_caps_are_met_together_under_a_bound(
    graph: Graph, seed: int, drawn: int, share: float, of_macs: float, method: str
) -> None:
    held, low = memory(graph, drawn), smallest(graph)
    macs = int(graph.macs(low) + of_macs * (graph.macs(graph.sizes) - graph.macs(low)))
    caps = Budget(ram=cap(held, graph, share, low), macs=macs)
    values, objective = scores(graph, seed), PowerMean(1)
    found = allocate(graph, values, caps, costs={"ram": held}, method=method, objective=objective)
    widths = found.structure.widths
    assert held(widths) <= caps.caps["ram"]
    assert graph.macs(widths) <= macs
    assert found.unused["ram"] == pytest.approx(1 - held(widths) / caps.caps["ram"])
    assert set(found.unused) == set(caps.caps)
    assert set(found.prices) <= set(caps.caps)
    assert set(found.binding) <= set(caps.caps)
    best = max(
        value_of(graph, values, objective, np.array(point))
        for point in itertools.product(*(levels(axis) for axis in graph.axes))
        if held(np.array(point, dtype=np.int64)) <= caps.caps["ram"]
        and graph.macs(np.array(point, dtype=np.int64)) <= macs
    )
    assert found.value <= best + 1e-9 * (1 + abs(best))
    if found.bound is not None:
        assert found.bound >= best - 1e-6 * (1 + abs(best))  # what a mixed-integer solver promises


def levels(axis: Axis) -> list[int]:
    return [axis.size] if axis.frozen else allowed_widths(axis.size, 1, 1).tolist()


def value_of(graph: Graph, values: np.ndarray, objective: PowerMean, widths: np.ndarray) -> float:
    gains = 0.0
    for axis, width in zip(graph.axes, widths.tolist(), strict=True):
        allowed = np.array(levels(axis), dtype=np.int64)
        gain = objective.gains(values[axis.units], allowed, max(axis.writers, 1))
        gains += float(gain[allowed.tolist().index(width)])
    return gains


def steps(graph: Graph, count: int) -> Memory:
    """So many steps none of which dominates another, each of one tensor of one axis."""
    axes = len(graph.axes)
    moments: list[Moment] = []
    for n in range(count):
        linear = [0] * axes
        linear[n % axes], linear[(n + 1) % axes] = 64 + n, 64 * count - n
        moments.append(Moment(f"layer{n}", (Block("t", Polynomial(16 * n, tuple(linear))),)))
    return Memory(tuple(moments))


def test_more_steps_than_a_program_begins_with() -> None:
    graph = chain([12] * 6)
    held = steps(graph, 5 * FEW)
    seen: list[int] = []

    def counted(problem: Problem, _graph: Graph, _scores: np.ndarray) -> Solution:
        seen.append(len(problem.resources))
        return dual(problem)

    caps = Budget(ram=held(graph.sizes) // 2)
    found = allocate(graph, scores(graph, 0), caps, costs={"ram": held}, method=counted)
    assert held(found.widths) <= caps.caps["ram"]
    assert seen[0] == FEW
    assert len(found.prices) == 1


def test_a_network_that_fits_when_rounded_stays_whole() -> None:
    graph = chain([5, 5])
    held = SEVENS
    found = allocate(
        graph, np.ones(graph.units), Budget(ram=held(graph.sizes)), costs={"ram": held}
    )
    assert found.widths.tolist() == graph.sizes.tolist()


def test_the_smallest_structure_is_reached_when_rounded() -> None:
    graph = chain([5, 5])
    held = SEVENS
    least = held(np.ones(2, dtype=np.int64))
    assert least == 32
    found = allocate(graph, np.ones(graph.units), Budget(ram=least), costs={"ram": held})
    assert held(found.widths) <= least


def test_a_peak_that_cannot_be_reached_is_told_with_its_tensors() -> None:
    graph = chain([5, 5])
    tensors = (Block("input x", Polynomial(4000, (0, 0))), Block("first", Polynomial(0, (100, 0))))
    held = Memory((Moment("first", tensors), Moment("last", (Block("y", Polynomial(10, (0, 0))),))))
    with pytest.raises(BudgetError) as refused:
        allocate(graph, np.ones(graph.units), Budget(ram="2KiB"), costs={"ram": held})
    said = str(refused.value)
    assert "ram <= 2,048 cannot be reached" in said
    assert "4,112 while 'first' runs: input x (4,000), first (112)" in said


def test_a_graph_alone_does_not_know_ram() -> None:
    graph = chain([5])
    with pytest.raises(BudgetError, match="graph alone"):
        allocate(graph, np.ones(graph.units), Budget(ram="2KiB"))
