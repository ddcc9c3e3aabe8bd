"""A bound that needs no tables, from the logarithms of the widths.

In ``x = log w`` every cost is a sum of exponentials with non-negative coefficients, hence convex
(the idea of geometric programming), so its linearisation at any point x0 is below it:

    y · cost(x) >= y · cost(x0) + p · (x - x0),      p_g = w_g · d(y · cost)/d w_g   at x0

Put into the Lagrangian this leaves one maximisation per axis, over its actual levels:

    D(y) <= y · (1 - cost(x0)) + p · x0 + sum over g of  max over levels of gain_g(w) - p_g · log w

(costs as parts of their caps). It holds for every x0, so the search for a good one may be crude. It
is tight where gains are nearly concave in log w, as those of the logarithmic objectives are, and
loose for a sum of scores. It works for any coupling, all axes with all axes included.
"""

from __future__ import annotations

import numpy as np

from compressor.allocation.forms import Forms
from compressor.allocation.multipliers import Oracle, Seen
from compressor.allocation.problem import Floats

ROUNDS = 40
"""Most rounds of the search for x0 at one price vector."""
STILL = 1e-4
"""The search ends when no width changes by more than this part."""


class LogWidths:
    """The bound above, with the last x0 as the start of the next search."""

    def __init__(self, forms: Forms) -> None:
        """Lay the levels out as a matrix, one row per free axis."""
        self._forms = forms
        size, longest = len(forms.free), int(forms.counts.max())
        column = np.arange(longest)
        inside = column < forms.counts[:, None]
        place = forms.starts[:, None] + np.minimum(column, forms.counts[:, None] - 1)
        self._widths = forms.widths[place].astype(np.float64)
        self._squares = self._widths**2
        self._logs = np.log(self._widths)
        self._gains = np.where(inside, forms.gains[place], -np.inf)
        self._rows = np.arange(size)
        self._at = np.sqrt(self._widths[:, 0] * self._widths[:, -1])

    def oracle(self) -> Oracle:
        """At least D; the point is the x0, its gain interpolated between the levels."""

        def evaluate(y: Floats) -> tuple[float, Seen]:
            self._at = self._search(y, self._at)
            return self._bound(y, self._at), self._describe(self._at)

        return evaluate

    def _search(self, y: Floats, w: Floats) -> Floats:
        """Climb the Lagrangian from w, all axes at once.

        A product is at most ``w_i · w_j <= (w_i² · r + w_j² / r) / 2`` with equality at the present
        ratio ``r = w_j / w_i``, and one of three widths at most the mean of three cubes in the same
        way. With that in place of the products the axes separate, and the maximum of what is left
        cannot be lower than the present point.
        """
        prices = y / self._forms.caps
        linear, own = prices @ self._forms.linear, prices @ self._forms.own
        for _ in range(ROUNDS):
            curvature = own + self._marginal(prices, w) / (2 * w)
            height = self._gains - linear[:, None] * self._widths
            height = height - curvature[:, None] * self._squares
            if len(self._forms.triples):
                cubic = self._met(prices, w) / (3 * w**3)
                height = height - cubic[:, None] * self._widths**3
            new = self._peak(height)
            moved = float(np.abs(np.log(new / w)).max())
            w = new
            if moved <= STILL:
                break
        return w

    def _peak(self, height: Floats) -> Floats:
        """Width at the maximum of each row; between levels, by the parabola through three."""
        rows, last = self._rows, self._forms.counts - 1
        best = height.argmax(axis=1)
        inner = (best > 0) & (best < last)
        left, right = np.maximum(best - 1, 0), np.minimum(best + 1, last)
        here = height[rows, best]
        rise, fall = here - height[rows, left], here - height[rows, right]
        bend = rise + fall
        shift = np.where(inner & (bend > 0), 0.5 * (rise - fall) / np.where(bend > 0, bend, 1), 0.0)
        w = self._widths[rows, best]
        step = np.where(shift > 0, self._widths[rows, right] - w, w - self._widths[rows, left])
        return w + shift * step

    def _marginal(self, prices: Floats, w: Floats) -> Floats:
        """Compute the cost of one more unit of each axis through its products."""
        pair, (i, j) = prices @ self._forms.coefs, self._forms.ends.T
        there: Floats = np.bincount(i, pair * w[j], len(w)).astype(np.float64)
        return there + np.bincount(j, pair * w[i], len(w))

    def _met(self, prices: Floats, w: Floats) -> Floats:
        """Compute the cost of all products of three that each axis is in, for each time it is."""
        triples = self._forms.triples
        cost = (prices @ triples.rates) * triples.products(w)
        return np.bincount(triples.ends.ravel(), np.repeat(cost, 3), len(w)).astype(np.float64)

    def _bound(self, y: Floats, w: Floats) -> float:
        prices = y / self._forms.caps
        linear, own = prices @ self._forms.linear, prices @ self._forms.own
        slope = w * (linear + self._marginal(prices, w) + 2 * own * w)
        if len(self._forms.triples):
            slope = slope + self._met(prices, w)
        best = (self._gains - slope[:, None] * self._logs).max(axis=1).sum()
        return float(best + slope @ np.log(w) - y @ self._excess(w))

    def _excess(self, w: Floats) -> Floats:
        """Cost at any real widths as a part of the caps, less one, shape (R,)."""
        forms = self._forms
        i, j = forms.ends.T
        cost = forms.const + forms.linear @ w + forms.own @ (w * w) + forms.coefs @ (w[i] * w[j])
        if len(forms.triples):
            cost = cost + forms.triples.rates @ forms.triples.products(w)
        return cost / forms.caps - 1.0

    def _describe(self, w: Floats) -> Seen:
        """The point w, and the levels at or below it."""
        forms = self._forms
        places = forms.nearest(w)
        above = np.minimum(places + 1, forms.counts - 1)
        low, high = self._logs[self._rows, places], self._logs[self._rows, above]
        span = np.where(high > low, high - low, 1.0)
        part = np.clip((np.log(w) - low) / span, 0.0, 1.0)
        gains = self._gains[self._rows, places] * (1 - part) + self._gains[self._rows, above] * part
        return Seen(places, float(gains.sum()), self._excess(w))
