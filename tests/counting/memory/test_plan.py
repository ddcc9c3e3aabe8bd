from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.counting.memory.lifetimes import Lifetime
from compressor.counting.memory.plan import check, clashes, lowest_gap, place, planned
from tests.helpers.arenas import lifetimes


def bytes_by_step(tensors: list[Lifetime], offsets: list[int], step: int) -> list[int]:
    """Every byte that is in use at a step, once for each tensor in it."""
    alive = [n for n, t in enumerate(tensors) if t.first <= step <= t.last]
    return [byte for n in alive for byte in range(offsets[n], offsets[n] + tensors[n].room)]


@given(lifetimes(most=5), st.data())
def test_clashes_are_bytes_used_twice(tensors: list[Lifetime], data: st.DataObject) -> None:
    places = st.integers(0, 8).map(lambda n: 16 * n)
    offsets = data.draw(st.lists(places, min_size=len(tensors), max_size=len(tensors)))
    twice = False
    for step in range(9):
        used = bytes_by_step(tensors, offsets, step)
        twice |= len(used) != len(set(used))
    assert bool(clashes(tensors, offsets)) == twice
    if twice:
        with pytest.raises(ValueError, match="on the same bytes"):
            check(tensors, offsets)
    else:
        check(tensors, offsets)


@given(st.integers(0, 5), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=5))
def test_the_lowest_gap_is_the_first_that_is_free(size: int, pieces: list[tuple[int, int]]) -> None:
    taken = sorted((start, start + length) for start, length in pieces)
    used = {byte for start, end in taken for byte in range(start, end)}
    found = lowest_gap(size, taken)
    assert not used & set(range(found, found + size))
    if size and all(start < end for start, end in taken):
        assert all(used & set(range(at, at + size)) for at in range(found))


@given(lifetimes(), st.randoms(use_true_random=False))
def test_places_one_by_one_are_a_plan(tensors: list[Lifetime], random: object) -> None:
    order = list(range(len(tensors)))
    random.shuffle(order)  # type: ignore[attr-defined]
    plan = place(tensors, order)
    check(tensors, plan.offsets)
    assert plan == planned(tensors, plan.offsets)


def test_given_offsets_stay() -> None:
    a, b, c = Lifetime("a", 16, 0, 1), Lifetime("b", 16, 0, 1), Lifetime("c", 32, 0, 1)
    plan = place([a, b, c], [2, 1], fixed=[16, None, None])
    assert plan.offsets == (16, 0, 32)
    assert plan.head == 64


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0], "a plan of 1 offsets is none for 2 tensors"),
        ([0, 8], r"puts 'b' at byte 8: an offset is a multiple of 16"),
        ([-16, 0], r"puts 'a' at byte -16"),
        ([0, 16], r"'a' \(bytes 0 to 32\) and 'b' \(16 to 32\) .* both are alive at step 1"),
    ],
)
def test_an_unsound_plan_is_refused(offsets: list[int], message: str) -> None:
    tensors = [Lifetime("a", 20, 0, 1), Lifetime("b", 16, 1, 2)]
    with pytest.raises(ValueError, match=message):
        check(tensors, offsets)
