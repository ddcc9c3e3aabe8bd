"""Ties and crossings of ids against what they mean: every assignment that obeys them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.tracing.couplings import Couplings, Solved

ids = st.integers(1, 7)


def alive(solved: Solved, live: dict[int, bool], one: int) -> bool:
    """The fate of an id, if these free components live."""
    root = int(solved.roots[one])
    if root in solved.reasons:
        return True
    ends = solved.factors.get(root, (root,))
    return all(live.get(end, True) for end in ends)


@given(
    ties=st.lists(st.tuples(ids, ids), max_size=4),
    crossed=st.lists(st.tuples(ids, ids, ids), max_size=3),
    frozen=st.lists(ids, max_size=2),
)
def test_whatever_lives_obeys_every_tie_and_every_crossing(
    ties: list[tuple[int, int]], crossed: list[tuple[int, int, int]], frozen: list[int]
) -> None:
    couplings = Couplings()
    couplings.fresh(7)
    for left, right in ties:
        couplings.tie(np.array([left]), np.array([right]))
    for one, row, column in crossed:
        couplings.cross(np.array([one]), np.array([row]), np.array([column]))
    for one in frozen:
        couplings.freeze(np.array([one]), "asked for")
    solved = couplings.solve()
    roots = sorted(set(solved.roots.tolist()) - solved.reasons.keys() - solved.factors.keys())
    for fates in itertools.product((False, True), repeat=len(roots)):
        live = dict(zip(roots, fates, strict=True))
        fate = {one: alive(solved, live, one) for one in range(8)}
        assert all(fate[left] == fate[right] for left, right in ties)
        assert all(fate[one] == (fate[row] and fate[col]) for one, row, col in crossed)
        assert fate[0]
        assert all(fate[one] for one in frozen)


def test_heads_and_places_of_one_grid() -> None:
    couplings = Couplings()
    rows, columns, channels = couplings.fresh(2), couplings.fresh(3), couplings.fresh(6)
    couplings.cross(channels.reshape(2, 3), rows[:, None], columns[None, :])
    solved = couplings.solve()
    assert len(solved.factors) == 6
    assert set(solved.factors[int(solved.roots[channels[4]])]) == {
        int(solved.roots[rows[1]]),
        int(solved.roots[columns[1]]),
    }


def test_two_grids_of_the_same_channels_become_one() -> None:
    couplings = Couplings()
    channels = couplings.fresh(6).reshape(2, 3)
    first, second = (
        (couplings.fresh(2), couplings.fresh(3)),
        (couplings.fresh(2), couplings.fresh(3)),
    )
    for rows, columns in (first, second):
        couplings.cross(channels, rows[:, None], columns[None, :])
    roots = couplings.solve().roots
    assert (roots[first[0]] == roots[second[0]]).all()
    assert (roots[first[1]] == roots[second[1]]).all()


def test_a_frozen_channel_freezes_its_head_and_its_place() -> None:
    couplings = Couplings()
    rows, columns, channels = couplings.fresh(2), couplings.fresh(2), couplings.fresh(4)
    couplings.cross(channels.reshape(2, 2), rows[:, None], columns[None, :])
    couplings.freeze(channels[:1], "it is the output")
    solved = couplings.solve()
    assert solved.reasons[int(solved.roots[rows[0]])] == "it is the output"
    assert solved.reasons[int(solved.roots[columns[0]])] == "it is the output"
    # The channel of the other head at the same place hangs on that head alone.
    assert solved.factors[int(solved.roots[channels[2]])] == (int(solved.roots[rows[1]]),)


@pytest.mark.parametrize("deep", [3, 4])
def test_more_than_two_dimensions_are_held(deep: int) -> None:
    couplings = Couplings()
    parts = [couplings.fresh(1) for _ in range(deep)]
    one = parts[0]
    for part in parts[1:]:
        more = couplings.fresh(1)
        couplings.cross(more, one, part)
        one = more
    solved = couplings.solve()
    assert len(solved.factors[int(solved.roots[one[0]])]) <= 2


def test_what_hangs_on_frozen_parts_alone_says_why_they_are() -> None:
    couplings = Couplings()
    rows, columns, channels = couplings.fresh(1), couplings.fresh(1), couplings.fresh(1)
    couplings.cross(channels, rows, columns)
    couplings.freeze(rows, "one thing")
    couplings.freeze(columns, "another")
    solved = couplings.solve()
    why = solved.reasons[int(solved.roots[channels[0]])]
    assert why == "all that its channels are made of stays: one thing"
