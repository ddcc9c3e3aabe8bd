"""The search for axes that fail, without a network: it finds them, and it ends."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from compressor.graph.graph import Axis, Graph
from compressor.graph.structure import Structure
from compressor.tracing import thinning, trial

SIZE = 3


class Trials:
    """Fails where all axes of one of these sets lose something; counts how often it was asked."""

    def __init__(self, *fatal: set[int]) -> None:
        self.fatal, self.asked = fatal, 0

    thinned = staticmethod(thinning.thinned)

    def attempt(self, graph: Graph, structure: Structure) -> str | None:
        self.asked += 1
        thin = {n for n, a in enumerate(graph.axes) if not structure.keep[a.units].all()}
        return "it stops" if any(some <= thin for some in self.fatal) else None


def searched(trials: Any, axes: int) -> set[int]:
    made = tuple(Axis(str(n), n * SIZE, SIZE) for n in range(axes))
    found = trial._culprits(trials, Graph(made, {}, ()), list(range(axes)))
    return set(found)


@pytest.mark.parametrize("number", [0, 77, 999])
def test_one_axis_among_a_thousand_is_found(number: int) -> None:
    trials = Trials({number})
    assert searched(trials, 1000) == {number}
    assert trials.asked <= 2 * np.log2(1000) + 2


def test_axes_that_fail_together_alone_are_named_whole() -> None:
    assert searched(Trials({1, 2}), 4) == {0, 1, 2, 3}


def test_where_everything_fails_the_search_ends_and_names_everything() -> None:
    trials = Trials(*({n} for n in range(500)))
    assert searched(trials, 500) == set(range(500))
    assert trials.asked <= trial.SEARCH + 1


def test_what_does_not_fail_is_not_named() -> None:
    assert searched(Trials(), 10) == set()


def test_no_width_says_another() -> None:
    """Code that divides one width by a number, or takes one for the other, is never right."""
    for sizes in [(24, 4, 6, 24, 48), (16, 8), (64, 8, 8, 64, 256), (12, 12, 12), (30, 3, 10)]:
        counts = thinning.usual(sizes, 0)
        assert all(0 < lost < size for lost, size in zip(counts, sizes, strict=True))
        left = [size - lost for size, lost in zip(sizes, counts, strict=True)]
        for (size, width), (other, narrow) in permutations(zip(sizes, left, strict=True), 2):
            if size % other == 0:
                assert width // (size // other) != narrow


def test_where_every_width_says_another_there_is_one_all_the_same() -> None:
    assert thinning.usual((2, 2, 2), 0) == [1, 1, 1]
    assert len(thinning.usual((64,) * 1000, 0)) == 1000


@pytest.mark.parametrize("sizes", [(4, 9, 4), (12, 5, 5, 5, 6), (6, 5, 5, 5, 12)])
def test_axes_that_lose_equal_parts_do_not_in_another_turn(sizes: tuple[int, ...]) -> None:
    """Code that divides one width by a number may take it for another one."""
    starts = np.cumsum(sizes) - sizes
    axes = [
        Axis(str(n), int(at), size) for n, (at, size) in enumerate(zip(starts, sizes, strict=True))
    ]
    graph, numbers = Graph(tuple(axes), {}, ()), list(range(len(sizes)))
    first, second = (
        thinning.thinned(graph, numbers, counts=thinning.usual(sizes, turn)).widths / sizes
        for turn in (0, 1)
    )
    assert first[0] != first[-1] or second[0] != second[-1]
    assert all(((some > 0) & (some < 1)).all() for some in (first, second))
