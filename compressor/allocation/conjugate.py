"""Maxima of a function minus a price times width, for many prices at once.

For a function h on finitely many widths v the *conjugate* at price p is

    h*(p) = max over k of  h_k - p · v_k

Only the corners of the upper concave hull of h can attain it, and they do so in order: the steeper
the price, the further left. So one hull and one binary search per price give it exactly, for any
h, in O(n + m log n) for n widths and m prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.allocation.problem import Floats, Integers


@dataclass(frozen=True, eq=False)
class Conjugate:
    """The corners of an upper concave hull, from left to right.

    Attributes:
        corners: Which of the given points they are.
        widths: Their widths, ascending.
        heights: Their heights.
        falls: Minus the slopes between them, ascending.
    """

    corners: Integers
    widths: Floats
    heights: Floats
    falls: Floats

    def place(self, price: Floats) -> Integers:
        """The corner that is best at each price, the narrowest where several are."""
        return np.searchsorted(self.falls, -price, side="left")

    def __call__(self, price: Floats) -> Floats:
        """``h*(price)``, elementwise."""
        best = self.place(price)
        return self.heights[best] - price * self.widths[best]


def conjugate(widths: Floats, heights: Floats) -> Conjugate:
    """The upper concave hull of the points (ascending widths).

    A point that lies below the chord of its neighbours is no corner, and stays none whatever else
    is dropped: so all such points are dropped at once, until none is left. A concave function
    takes one round, a convex one two; few functions take many.
    """
    corners = np.arange(len(widths))
    while True:
        falls = np.diff(heights) / np.diff(widths)
        np.negative(falls, out=falls)
        stay = _corners(falls)
        if stay.all():
            return Conjugate(corners, widths, heights, falls)
        corners, widths, heights = corners[stay], widths[stay], heights[stay]


def _corners(falls: Floats) -> NDArray[np.bool_]:
    """Which points have a slope to the left that is steeper than the one to the right."""
    stay = np.ones(len(falls) + 1, dtype=bool)
    np.less(falls[:-1], falls[1:], out=stay[1:-1])
    return stay
