"""Fronts, by the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.reports.sweeps.pareto import dominators, staircase, standard_error

points = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=12)


@given(points)
def test_what_is_beaten_is_by_the_definition(rows: list[tuple[int, int, int]]) -> None:
    found = dominators(np.array(rows, np.float64))
    for mine, better in zip(rows, found, strict=True):
        beaten = [
            n for n, other in enumerate(rows)
            if all(a >= b for a, b in zip(other, mine, strict=True)) and other != mine
        ]  # fmt: skip
        assert (better is None) == (not beaten)
        if better is not None:
            assert better in beaten
            assert found[better] is None
            front = [rows[n][0] for n in beaten if found[n] is None]
            assert rows[better][0] == max(front)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=15))
def test_the_staircase_is_the_front_of_one_cost(rows: list[tuple[int, int]]) -> None:
    costs, heights = (np.array(column, np.float64) for column in zip(*rows, strict=True))
    steps = staircase(costs, heights)
    front = {
        (c, h) for c, h in rows
        if not any(x <= c and y >= h and (x, y) != (c, h) for x, y in rows)
    }  # fmt: skip
    assert {(costs[k], heights[k]) for k in steps} == front
    assert (np.diff(costs[steps]) > 0).all()


def test_standard_error_is_that_of_a_mean() -> None:
    assert standard_error([0.4, 0.5, 0.6]) == pytest.approx(0.1 / 3**0.5)
    assert math.isnan(standard_error([0.4]))
