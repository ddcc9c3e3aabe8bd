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

FEW = 1 / 16
"""A round that drops a smaller part of the points than this is followed by longer chords."""


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

    A point that does not lie above the chord of two others is no corner, and stays none whatever
    else is dropped: so all such points are dropped at once, until none is left. Chords of direct
    neighbours do in a few rounds for concave, convex and noisy functions; where a round drops
    little (a concave part is eaten up from a high end, point by point), longer chords help.
    """
    corners = np.arange(len(widths))
    while True:
        falls = np.diff(heights) / np.diff(widths)
        np.negative(falls, out=falls)
        stay = np.ones(len(widths), dtype=bool)
        np.less(falls[:-1], falls[1:], out=stay[1:-1])
        left = int(stay.sum())
        if left == len(stay):
            return Conjugate(corners, widths, heights, falls)
        if left > len(stay) - FEW * len(stay):
            stay &= _above_long_chords(widths, heights)
        corners, widths, heights = corners[stay], widths[stay], heights[stay]


def _above_long_chords(widths: Floats, heights: Floats) -> NDArray[np.bool_]:
    """Which points lie above all chords to the points 2, 4, 8, … places away (or at the ends)."""
    last = len(widths) - 1
    inner = np.arange(1, last)
    stay = np.ones(last + 1, dtype=bool)
    reach = 2
    while reach <= last:
        a, b = np.maximum(inner - reach, 0), np.minimum(inner + reach, last)
        slope = (heights[b] - heights[a]) / (widths[b] - widths[a])
        stay[1:-1] &= heights[inner] > heights[a] + slope * (widths[inner] - widths[a])
        reach *= 2
    return stay
