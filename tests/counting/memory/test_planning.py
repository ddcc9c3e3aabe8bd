from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.counting.memory.lifetimes import Lifetime, peak
from compressor.counting.memory.plan import check, place, planned
from compressor.counting.memory.planning import plan
from compressor.counting.memory.tflm import greedy
from tests.helpers.arenas import lifetimes


@given(lifetimes())
def test_a_plan_is_sound_and_no_better_than_the_bound(tensors: list[Lifetime]) -> None:
    found = plan(tensors, tries=200)
    check(tensors, found.offsets)
    assert found == planned(tensors, found.offsets)
    assert found.head >= peak(tensors).bytes


@given(lifetimes(most=5, steps=4))
def test_the_smallest_arena_of_few_tensors_is_found(tensors: list[Lifetime]) -> None:
    """First fit in some order is the best plan: here every order is tried."""
    best = min(place(tensors, order).head for order in permutations(range(len(tensors))))
    assert plan(tensors).head == best


@given(lifetimes(), st.randoms(use_true_random=False))
def test_the_order_of_the_tensors_does_not_matter(tensors: list[Lifetime], random: object) -> None:
    order = list(range(len(tensors)))
    random.shuffle(order)  # type: ignore[attr-defined]
    first, second = plan(tensors, tries=50), plan([tensors[n] for n in order], tries=50)
    assert second.offsets == tuple(first.offsets[n] for n in order)


@given(lifetimes())
def test_more_tries_are_never_worse(tensors: list[Lifetime]) -> None:
    heads = [plan(tensors, tries=n).head for n in (1, 6, 60)]
    assert heads == sorted(heads, reverse=True)
    assert plan(tensors, tries=60) == plan(tensors, tries=60)


def residual(blocks: int) -> list[Lifetime]:
    """Blocks of a residual network: two convolutions beside the shortcut, halving at each block."""
    found: list[Lifetime] = []
    step, size = 0, 48 * 1024
    found.append(Lifetime("input", size // 3, 0, 1))
    for n in range(blocks):
        first = step + 1
        found += [
            Lifetime(f"x{n}", size, first, first + 3),
            Lifetime(f"a{n}", size // 2 + 16 * n, first + 1, first + 2),
            Lifetime(f"b{n}", size // 2, first + 2, first + 3),
        ]
        step, size = first + 2, size * 2 // 3
    return [*found, Lifetime("out", 10, step + 1, step + 1)]


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_the_bound_is_reached_where_greedy_does_not(blocks: int) -> None:
    tensors = residual(blocks)
    assert plan(tensors).head == peak(tensors).bytes
    assert greedy(tensors).head >= peak(tensors).bytes


def test_some_arenas_have_no_plan_at_the_bound() -> None:
    """A hole that opens at the wrong place: the search ends all the same, above the bound."""
    tensors = [Lifetime("", 16 * size, first, last) for size, first, last in HARD]
    best = min(place(tensors, order).head for order in permutations(range(len(tensors))))
    assert plan(tensors).head == best == 128 > peak(tensors).bytes == 112


HARD = [(3, 0, 1), (3, 3, 5), (2, 1, 3), (3, 0, 0), (2, 2, 3), (2, 1, 2), (3, 4, 5)]
"""Blocks of 16 bytes, first and last step; found by trying random ones."""


def test_no_try_is_refused() -> None:
    with pytest.raises(ValueError, match=r"plan\(tries=0\)"):
        plan([], tries=0)
