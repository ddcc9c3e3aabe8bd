"""Rank correlation and regret on numbers that are worked out by hand."""

from __future__ import annotations

import pytest

from benchmarks.common.ranks import rank_correlation, regret


def test_order_alone_counts() -> None:
    assert rank_correlation([1, 2, 30], [5, 6, 7]) == pytest.approx(1)
    assert rank_correlation([3, 2, 1], [5, 6, 7]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(0.8)


def test_nothing_is_predicted_by_one_value() -> None:
    assert rank_correlation([1, 1, 1], [5, 6, 7]) == 0
    assert rank_correlation([1, 2, 3], [5, 5, 5]) == 0


def test_regret_is_what_the_first_choice_loses() -> None:
    assert regret([0.1, 0.9, 0.2], [90, 80, 95]) == 15
    assert regret([0.1, 0.2, 0.9], [90, 80, 95]) == 0
