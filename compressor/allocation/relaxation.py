"""The inner maximum for given prices, evaluated exactly or bounded from above.

For prices y of the caps (per part of each cap) the Lagrangian dual asks for

    D(y) = max over w of  sum_g gain_g(w_g) - y · (cost(w) / caps - 1)

`exact_oracle` solves it by elimination on all levels; `respond` climbs it one axis at a time.
"""

from __future__ import annotations

import numpy as np

from compressor.allocation.elimination import Inner, Plan, maximise, plan
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
    return plan(sizes.tolist(), [(i, j) for i, j in forms.ends.tolist()], limit)


def exact_oracle(forms: Forms, order: Plan) -> Oracle:
    """D itself, by elimination on all levels."""
    levels = np.split(np.arange(len(forms.widths)), forms.starts[1:])
    points = [(forms.gains[s], forms.widths[s].astype(np.float64)) for s in levels]
    ends = [(i, j) for i, j in forms.ends.tolist()]

    def evaluate(y: Floats) -> tuple[float, Seen]:
        prices = y / forms.caps
        rates = zip(points, prices @ forms.linear, prices @ forms.own, strict=True)
        unary = [gain - (a + b * w) * w for (gain, w), a, b in rates]
        pairs = dict(zip(ends, (prices @ forms.coefs).tolist(), strict=True))
        value, places = maximise(Inner([w for _, w in points], unary, pairs), order)
        constant = float(y.sum() - prices @ forms.const)  # what no width changes
        return value + constant, describe(forms, places)

    return evaluate


def respond(forms: Forms, y: Floats, places: Integers, sweeps: int = SWEEPS) -> Integers:
    """Best responses: each axis in turn takes its best level given the prices and the others.

    The price of a unit is marginal, ``linear + sum_j coef · w_j``; no round lowers the Lagrangian.
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
            places[k] = int((forms.gains[levels] - (rate + own[k] * w) * w).argmax())
            widths[k] = w[places[k]]
        if (places == before).all():
            break
    return places
