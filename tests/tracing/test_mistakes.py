"""Turns of the trial in which widths that code may take for one another shrink by other shares."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from compressor.graph.graph import Axis, Dim, Graph, Weight
from compressor.tracing.mistakes import TURNS, telling
from compressor.tracing.thinning import usual


def graph_of(sizes: tuple[int, ...], module: str = "block") -> Graph:
    """Axes of these sizes, with a weight each of one module's layers."""
    starts = (np.cumsum(sizes) - sizes).tolist()
    axes = [Axis(f"{n}", at, size) for n, (at, size) in enumerate(zip(starts, sizes, strict=True))]
    dims = [Dim(np.arange(axis.first, axis.first + axis.size)) for axis in axes]
    weights = {f"{module}.{n}.weight": Weight("", (dim,), 4) for n, dim in enumerate(dims)}
    return Graph(tuple(axes), weights, ())


def lefts(graph: Graph) -> list[list[int]]:
    """What is left of every axis, turn by turn, the usual numbers first."""
    sizes, before = graph.sizes, list[list[int]]()
    while (counts := telling(graph, before)) is not None:
        before.append(list(counts))
    kept = [not axis.frozen for axis in graph.axes]
    turns = [usual(tuple(sizes.tolist()), 0), *before]
    return [np.where(kept, sizes - counts, sizes).tolist() for counts in turns]


@pytest.mark.parametrize(
    "sizes",
    [(2, 2), (2, 2, 2, 2), (12, 3, 4, 4, 2, 6, 6, 2, 6), (64, 64, 32, 4), (3, 3, 3, 9), (7, 5)],
)
def test_every_pair_is_told_apart_in_one_turn_at_least(sizes: tuple[int, ...]) -> None:
    found = lefts(graph_of(sizes))
    assert 2 <= len(found) <= TURNS + 1
    assert all(0 < left <= size for turn in found for left, size in zip(turn, sizes, strict=True))
    for one, other in combinations(range(len(sizes)), 2):
        small, large = sorted((one, other), key=lambda axis: sizes[axis])
        ratio, rest = divmod(sizes[large], sizes[small])
        assert rest or any(turn[large] // ratio != turn[small] for turn in found)


def test_axes_that_stay_whole_do_not_tell_others_apart() -> None:
    """Two heads that stay: places in a head are half of the channels in the first turn."""
    graph = graph_of((12, 2, 6))
    axes = tuple(replace(axis, frozen="held" if axis.size == 2 else "") for axis in graph.axes)
    found = lefts(replace(graph, axes=axes))
    assert {turn[1] for turn in found} == {2}
    assert any(turn[0] // 2 != turn[2] for turn in found)


def test_channels_that_are_heads_times_places_are_a_width_too() -> None:
    graph = graph_of((8, 2, 4))
    heads, places = np.repeat([8, 9], 4), np.tile(np.arange(10, 14), 2)
    packed = Weight("", (Dim(heads, places),), 4)
    found = lefts(replace(graph, weights={**graph.weights, "block.packed.weight": packed}))
    assert any(turn[0] != turn[1] * turn[2] for turn in found)


def test_widths_of_other_modules_take_no_turn_more() -> None:
    """Code of one module takes one of its own widths for another."""
    graph = graph_of((2, 2, 2, 2))
    names = [f"{name.split('.')[1]}.layer.weight" for name in graph.weights]
    apart = replace(graph, weights=dict(zip(names, graph.weights.values(), strict=True)))
    assert len(lefts(apart)) == 2 < len(lefts(graph))
    counted = replace(apart, remembered={"size": Dim(np.arange(2))})
    assert len(lefts(counted)) == len(lefts(graph))


def test_what_nothing_tells_apart_is_let_go() -> None:
    assert len(lefts(graph_of((2,) * 40))) == TURNS + 1
