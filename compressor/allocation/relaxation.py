"""The inner maximum for given prices, evaluated exactly or bounded from above.

For prices y of the caps (per part of each cap) the Lagrangian dual asks for

    D(y) = max over w of  sum_g gain_g(w_g) - y · (cost(w) / caps - 1)

`exact_oracle` solves it by elimination on all levels; `respond` climbs it one axis at a time.
"""

from __future__ import annotations

import numpy as np

from compressor.allocation.elimination import Inner, Plan, Triple, maximise, plan
from compressor.allocation.forms import Forms
from compressor.allocation.multipliers import Oracle, Seen
from compressor.allocation.problem import Floats, Integers

SWEEPS = 3
"""Rounds of best responses."""


def describe(forms: Forms, places: Integers) -> Seen:
    """A point with its gain and its excess over the caps."""
    excess = forms.cost(forms.width(places)) / forms.caps - 1.0
    return Seen(places, forms.gain(places), excess)


def make_plan(forms: Forms, sizes: Integers, limit: int) -> Plan | None:
    """An elimination order for axes of these sizes, or None beyond `limit` table entries."""
    ends = [(i, j) for i, j in forms.ends.tolist()]
    return plan(sizes.tolist(), ends, limit, [axes for _, axes in _coupled(forms)])


def exact_oracle(forms: Forms, order: Plan) -> Oracle:
    """D itself, by elimination on all levels."""
    levels = np.split(np.arange(len(forms.widths)), forms.starts[1:])
    points = [(forms.gains[s], forms.widths[s].astype(np.float64)) for s in levels]
    ends = [(i, j) for i, j in forms.ends.tolist()]
    coupled = _coupled(forms)

    def evaluate(y: Floats) -> tuple[float, Seen]:
        prices = y / forms.caps
        rates = zip(points, prices @ forms.linear, prices @ forms.own, strict=True)
        unary = [gain - (a + b * w) * w for (gain, w), a, b in rates]
        if len(forms.triples):
            cubes = zip(points, unary, prices @ forms.triples.cubes, strict=True)
            unary = [height - c * w**3 for (_, w), height, c in cubes]
        pairs = dict(zip(ends, (prices @ forms.coefs).tolist(), strict=True))
        rated = prices @ forms.triples.rates
        triples = {axes: float(rated[t]) for t, axes in coupled}
        value, places = maximise(Inner([w for _, w in points], unary, pairs, triples), order)
        constant = float(y.sum() - prices @ forms.const)  # what no width changes
        return value + constant, describe(forms, places)

    return evaluate


def _coupled(forms: Forms) -> list[tuple[int, Triple]]:
    """Numbers and axes of the products of three that are no cubes, which are unary."""
    rows = enumerate(forms.triples.ends.tolist())
    return [(t, (i, j, k)) for t, (i, j, k) in rows if i != k]


def respond(forms: Forms, y: Floats, places: Integers, sweeps: int = SWEEPS) -> Integers:
    """Best responses: each axis in turn takes its best level given the prices and the others.

    The price of a unit is marginal, ``linear + sum_j coef · w_j`` and what products of three add to
    it; no round lowers the Lagrangian.
    """
    prices = y / forms.caps
    linear, own = prices @ forms.linear, prices @ forms.own
    places, widths = places.copy(), forms.width(places)
    for _ in range(sweeps):
        before = places.copy()
        for k, (others, coefs) in enumerate(forms.neighbours):
            rate = linear[k] + prices @ (coefs @ widths[others])
            levels = slice(forms.starts[k], forms.starts[k] + forms.counts[k])
            w = forms.widths[levels]
            height = forms.gains[levels] - (rate + own[k] * w) * w
            if len(forms.triples):
                once, twice, cube = forms.triples.at(k, prices, widths)
                height = height - (once + (twice + cube * w) * w) * w
            places[k] = int(height.argmax())
            widths[k] = w[places[k]]
        if (places == before).all():
            break
    return places
