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

from compressor.allocation.problem import Floats, Integers

PATIENCE = 12
"""Rounds with chords of direct neighbours, before longer chords are tried too."""


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
    neighbours do in a few rounds for concave, convex and noisy functions. Where they do not (a
    concave part is eaten up from a high end, point by point), `outermost` comes in between.
    """
    corners = np.arange(len(widths))
    finished = 0
    while True:
        falls = np.diff(heights) / np.diff(widths)
        np.negative(falls, out=falls)
        stay = np.ones(len(widths), dtype=bool)
        np.less(falls[:-1], falls[1:], out=stay[1:-1])
        if stay.all():
            return Conjugate(corners, widths, heights, falls)
        finished += 1
        kept = outermost(widths, heights) if finished == PATIENCE else np.flatnonzero(stay)
        corners, widths, heights = corners[kept], widths[kept], heights[kept]


def outermost(widths: Floats, heights: Floats) -> Integers:
    """Corners by halving: the point farthest above each chord becomes a corner of two new ones.

    Points below their chord drop out at every turn, so it takes about log2 n turns (Eddy 1977).
    """
    corners = np.array([0, len(widths) - 1])
    inside = np.arange(1, len(widths) - 1)
    while len(inside):
        chord = np.searchsorted(corners, inside)
        a, b = corners[chord - 1], corners[chord]
        slope = (heights[b] - heights[a]) / (widths[b] - widths[a])
        above = heights[inside] - heights[a] - slope * (widths[inside] - widths[a])
        outside = above > 0
        inside, chord, above = inside[outside], chord[outside], above[outside]
        if not len(inside):
            break
        first = np.flatnonzero(np.diff(chord, prepend=-1))
        peak = np.maximum.reduceat(above, first)
        highest = above == np.repeat(peak, np.diff(first, append=len(above)))
        chosen = np.flatnonzero(highest)
        chosen = chosen[np.diff(chord[chosen], prepend=-1) > 0]
        corners = np.sort(np.concatenate((corners, inside[chosen])))
        inside = np.delete(inside, chosen)
    return corners
