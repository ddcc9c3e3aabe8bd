"""Several searches for a plan: sound, never worse than one, down to the bound where one is not."""

from __future__ import annotations

from hypothesis import given, settings

from compressor.counting.memory.lifetimes import Lifetime, peak
from compressor.counting.memory.packing import packed
from compressor.counting.memory.plan import check, planned
from compressor.counting.memory.planning import plan
from tests.helpers.arenas import lifetimes


@given(lifetimes(most=7, steps=5))
@settings(max_examples=20, deadline=None)
def test_it_is_sound_and_no_worse_than_one_search(tensors: list[Lifetime]) -> None:
    found = packed(tensors)
    check(tensors, found.offsets)
    assert found == planned(tensors, found.offsets)
    assert peak(tensors).bytes <= found.head <= plan(tensors).head


def test_it_is_the_same_again() -> None:
    tensors = [Lifetime(f"t{n}", 16 * (n % 5 + 1), n // 2, n // 2 + n % 4) for n in range(12)]
    assert packed(tensors) == packed(tensors)


RESIDUAL = [
    (8, 12, 16128), (9, 10, 17168), (10, 11, 15360), (11, 13, 16384), (12, 13, 16384),
    (13, 16, 16384), (14, 15, 15360), (15, 16, 16384), (16, 20, 16384), (17, 18, 17952),
    (18, 19, 6528), (19, 21, 7808), (20, 21, 7808), (21, 24, 7808), (22, 23, 6400), (23, 24, 7808),
    (24, 28, 7808), (25, 26, 9344), (26, 27, 1856), (27, 29, 1984), (28, 29, 1984), (29, 30, 1984),
    (30, 31, 64), (31, 31, 16),
]  # fmt: skip
"""Lifetimes in a residual network that was pruned: from, to, bytes."""


def test_a_network_of_which_one_search_stays_above_the_bound() -> None:
    tensors = [Lifetime("t", size, first, last) for first, last, size in RESIDUAL]
    assert plan(tensors).head > peak(tensors).bytes == 49_152
    assert packed(tensors).head == 49_152
