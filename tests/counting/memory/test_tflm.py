"""The emulation against a second one, on a map of the arena; the interpreter itself is asked where
files are read (`tests/export/reading`)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.counting.memory.lifetimes import Lifetime, peak
from compressor.counting.memory.plan import check
from compressor.counting.memory.tflm import greedy
from tests.helpers.arenas import lifetimes


def drawn(tensors: list[Lifetime], offsets: list[int | None]) -> list[int]:
    """Largest first, the latest of equals, each at the lowest free blocks of 16 bytes."""
    found = list(offsets)
    waiting = [n for n, at in enumerate(found) if at is None]
    while waiting:
        chosen = waiting[0]
        for n in waiting:
            if tensors[n].room >= tensors[chosen].room:
                chosen = n
        waiting.remove(chosen)
        wanted, block = tensors[chosen], 0
        while any(
            at is not None
            and tensors[m].first <= wanted.last
            and wanted.first <= tensors[m].last
            and set(range(at // 16, (at + tensors[m].room) // 16))
            & set(range(block, block + wanted.room // 16))
            for m, at in enumerate(found)
        ):
            block += 1
        found[chosen] = 16 * block
    return [at or 0 for at in found]


def without_empty(tensors: list[Lifetime]) -> list[Lifetime]:
    """TFLM plans none for a tensor without a byte, and a map of blocks shows none."""
    return [t for t in tensors if t.size]


@given(lifetimes())
def test_as_on_a_map_of_the_arena(tensors: list[Lifetime]) -> None:
    tensors = without_empty(tensors)
    plan = greedy(tensors)
    assert list(plan.offsets) == drawn(tensors, [None] * len(tensors))
    check(tensors, plan.offsets)
    assert plan.head >= peak(tensors).bytes


@given(lifetimes(), st.data())
def test_around_what_the_file_gives(tensors: list[Lifetime], data: st.DataObject) -> None:
    tensors = without_empty(tensors)
    maybe = st.none() | st.integers(0, 12).map(lambda n: 16 * n)
    given_ = data.draw(st.lists(maybe, min_size=len(tensors), max_size=len(tensors)))
    plan = greedy(tensors, given_)
    assert list(plan.offsets) == drawn(tensors, given_)
    assert all(at in {None, found} for at, found in zip(given_, plan.offsets, strict=True))


def test_of_equal_tensors_the_latest_goes_first() -> None:
    tensors = [Lifetime(name, 16, 0, 0) for name in "abc"]
    assert greedy(tensors).offsets == (32, 16, 0)


def test_a_chain_needs_no_better_plan() -> None:
    tensors = [Lifetime("a", 32, 0, 1), Lifetime("b", 48, 1, 2), Lifetime("c", 64, 2, 3)]
    assert greedy(tensors).head == peak(tensors).bytes == 112


def test_offsets_for_other_tensors_are_refused() -> None:
    with pytest.raises(ValueError, match="1 offsets are given for 0 tensors"):
        greedy([], [0])
