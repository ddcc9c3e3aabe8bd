"""One width factor for the whole network, and what is left of the caps used up afterwards."""

from __future__ import annotations

import numpy as np

from compressor.allocation.allocation import Solution
from compressor.allocation.filling import State, fill
from compressor.allocation.forms import compile_forms
from compressor.allocation.problem import Integers, Problem

HALVINGS = 40
"""Bisections of the factor: 2^-40 is less than one unit in a million million."""


def uniform(problem: Problem) -> Solution:
    """The largest factor r for which widths ``round(r · n)`` fit all caps, then fill.

    Rounded widths are lowered to the next allowed level, and raised to the lowest one; the smallest
    must fit. On real audio this simple rule is hard to beat, so every other method is measured
    against it. It proves no bound.
    """
    forms = compile_forms(problem)
    if not len(forms.free):
        return Solution(problem.smallest)
    full = forms.width(forms.counts - 1)

    def fits(places: Integers) -> bool:
        return bool((forms.cost(forms.width(places)) <= forms.caps).all())

    def at(factor: float) -> Integers:
        return forms.nearest(np.rint(factor * full).astype(np.int64))

    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fits(at(middle)) else (low, middle)
    state = State.at(forms, at(1.0 if fits(forms.counts - 1) else low))
    fill(state, np.zeros(len(forms.caps)))
    return Solution(forms.everywhere(state.places), evaluations=HALVINGS)
