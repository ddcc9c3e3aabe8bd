"""Costs as polynomials of third degree: what cannot change is no width, and no term is lost."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.errors import TraceError
from compressor.graph.graph import Axis, Dim, Graph, Weight

PLACES = 4


def squared(heads: int) -> Graph:
    """A square weight of which either side is heads x places."""
    owner = np.repeat(np.arange(heads), PLACES)
    side = Dim(owner, heads + np.tile(np.arange(PLACES), heads))
    axes = (Axis("heads", 0, heads, frozen="asked for"), Axis("places", heads, PLACES))
    return Graph(axes, {"w": Weight("w", (side, side), itemsize=4, trainable=True)}, ())


def test_one_unit_that_stays_is_no_width() -> None:
    graph = squared(1)
    assert [graph.params(np.array([1, kept])) for kept in (1, 3, 4)] == [1, 9, 16]


def test_a_cost_of_too_many_widths_is_an_error_and_not_left_out() -> None:
    with pytest.raises(TraceError, match="product of more than 3 widths"):
        _ = squared(2).params
