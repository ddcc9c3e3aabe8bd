"""One width factor for the whole network, and what is left of the caps used up afterwards."""

from __future__ import annotations

import numpy as np

from compressor.allocation.allocation import Solution
from compressor.allocation.filling import State, fill
from compressor.allocation.forms import Forms, compile_forms
from compressor.allocation.problem import Integers, Problem

HALVINGS = 40
"""Bisections of the factor: 2^-40 is less than one unit in a million million."""


def uniform(problem: Problem) -> Solution:
    """The largest factor r for which widths ``round(r · n)`` fit all caps, then fill.

    Rounded widths are lowered to the next allowed level, and raised to the lowest one. On real
    audio this simple rule is hard to beat, so every other method is measured against it.

    Args:
        problem: Its smallest widths must fit all caps.

    Returns:
        Widths that fit; no bound.
    """
    forms = compile_forms(problem)
    if not len(forms.free):
        return Solution(problem.smallest)
    full = forms.width(forms.counts - 1)
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        fits = _fits(forms, _places(forms, full, middle))
        low, high = (middle, high) if fits else (low, middle)
    state = State.at(forms, _places(forms, full, 1.0 if _fits(forms, forms.counts - 1) else low))
    fill(state, np.zeros(len(forms.caps)))
    return Solution(forms.everywhere(state.places), evaluations=HALVINGS)


def _places(forms: Forms, full: Integers, factor: float) -> Integers:
    """Levels of the widths ``factor · n``."""
    return forms.nearest(np.rint(factor * full).astype(np.int64))


def _fits(forms: Forms, places: Integers) -> bool:
    """Whether these places meet every cap."""
    return bool((forms.cost(forms.width(places)) <= forms.caps).all())
