"""The integer program as a mixed-integer linear one (HiGHS through cvxpy), for small networks.

The test oracle of the other methods, and a proof where a few seconds do not matter. A width is
written in binary digits, a product of two widths as its lower envelope digit by digit, which is
exact where the digits are integers (McCormick 1976) and enough because costs only ever need to be
kept *down*:

    w = base + sum_k size_k · b_k,        b_k in {0, 1}
    w · v = base · v + sum_k size_k · q_k,    q_k >= v - v_max · (1 - b_k),  q_k >= v_min · b_k

In a product of three widths v is the envelope of a product of two: where the digits are integers it
is at least that product, and may be no more.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from compressor.allocation.allocation import Solution
from compressor.allocation.forms import Forms, compile_forms
from compressor.allocation.problem import Floats, Integers, Problem
from compressor.inputs.process import exclusive

MAX_AXES = 15
"""Free axes beyond which the program would take very long."""
ATTEMPTS = 4
"""How often caps are tightened by what the solver exceeds them by, within its tolerance."""
TOLERANCE = 1e-9
"""Slack with which a list of gains counts as concave."""


def exact(problem: Problem, *, seconds: float = 120.0, relative_gap: float = 1e-6) -> Solution:
    """Solve the integer program with a branch-and-bound solver.

    Args:
        problem: At most `MAX_AXES` free axes; its smallest widths must fit all caps.
        seconds: Time limit; the best widths so far are returned with their proven bound.
        relative_gap: The solver stops when its bound is this near to its value.

    Returns:
        Widths that fit and the solver's bound.

    Raises:
        ImportError: If cvxpy or HiGHS is not installed.
        ValueError: If there are too many axes.
        RuntimeError: If the solver finds nothing.
    """
    forms = compile_forms(problem)
    if len(forms.free) > MAX_AXES:
        raise ValueError(
            f'method="exact" handles at most {MAX_AXES} axes that can shrink, this network has '
            f'{len(forms.free)}. Use method="dual", which proves a bound for any size.'
        )
    if not len(forms.free):
        return Solution(problem.smallest, problem.value(problem.smallest))
    caps, bound = forms.caps.astype(np.float64), np.inf
    for attempt in range(1, ATTEMPTS + 1):
        places, limit = _Program(forms, caps, _cvxpy()).solve(seconds, relative_gap)
        bound = limit if attempt == 1 else bound  # later ones hold for tighter caps alone
        spent = forms.cost(forms.width(places))
        if (spent <= forms.caps).all():
            value = problem.value(forms.everywhere(places))
            fixed = value - forms.gain(places)
            return Solution(forms.everywhere(places), bound + fixed, evaluations=attempt)
        # The solver keeps the caps to a relative tolerance; costs are integers and are not so kind.
        caps -= np.maximum(spent - forms.caps, 0) + 1.0
    raise RuntimeError("the solver kept exceeding the caps by its tolerance; use method='dual'.")


def _cvxpy() -> Any:
    try:
        import cvxpy  # noqa: PLC0415 - an extra, needed here alone
    except ImportError as error:
        raise ImportError(
            'method="exact" needs cvxpy and HiGHS: pip install "compressor-nn[exact]", or use '
            'method="dual".'
        ) from error
    return cvxpy


class _Program:
    """The mixed-integer program of one problem under caps of shape (R,)."""

    def __init__(self, forms: Forms, caps: Floats, cvxpy: Any) -> None:
        self._forms, self._cvxpy = forms, cvxpy
        self._rules: list[Any] = []
        self._products: dict[tuple[int, int], Any] = {}
        parts = np.split(np.arange(len(forms.widths)), forms.starts[1:])
        self._levels = [forms.widths[part] for part in parts]
        self._gains = [forms.gains[part] for part in parts]
        self._digits = [self._digit(levels) for levels in self._levels]
        self._width = [
            float(levels[0]) + sizes @ digits
            for levels, (sizes, digits) in zip(self._levels, self._digits, strict=True)
        ]
        self._add_caps(caps)
        self._objective = cvxpy.sum([self._gain(k) for k in range(len(self._levels))])

    def solve(self, seconds: float, relative_gap: float) -> tuple[Integers, float]:
        """Places of the best point found and the solver's bound."""
        cvxpy = self._cvxpy
        program = cvxpy.Problem(cvxpy.Maximize(self._objective), self._rules)
        options = {"mip_rel_gap": relative_gap, "time_limit": seconds, "threads": 1}
        with exclusive(), warnings.catch_warnings():
            # At the time limit cvxpy warns of an inaccurate solution; the bound says how far.
            warnings.simplefilter("ignore", UserWarning)
            try:
                program.solve(solver=cvxpy.HIGHS, **options)
            except cvxpy.error.SolverError as error:
                message = f"HiGHS gave up on this problem ({error}): use method='dual'."
                raise RuntimeError(message) from error
        if program.value is None:
            raise RuntimeError(f"the solver found nothing in {seconds} s ({program.status}).")
        widths = [float(width.value) for width in self._width]
        pairs = zip(self._levels, widths, strict=True)
        places = np.array([int(np.abs(levels - w).argmin()) for levels, w in pairs])
        # cvxpy hands the negated objective to a solver that minimises.
        return places, max(-float(program.solver_stats.extra_stats.mip_dual_bound), program.value)

    def _digit(self, levels: Integers) -> tuple[Floats, Any]:
        """Binary digits of a width above its lowest level: their sizes, and the variables."""
        steps = np.diff(levels)
        if (steps == steps[0]).all():
            sizes = steps[0] * 2.0 ** np.arange((len(levels) - 1).bit_length())
            digits = self._cvxpy.Variable(len(sizes), boolean=True)
            self._rules.append(sizes @ digits <= float(levels[-1] - levels[0]))
        else:
            sizes = (levels[1:] - levels[0]).astype(np.float64)
            digits = self._cvxpy.Variable(len(sizes), boolean=True)
            self._rules.append(self._cvxpy.sum(digits) <= 1)
        return sizes, digits

    def _gain(self, axis: int) -> Any:
        """The objective of one axis: below every line of it if concave, else by level."""
        levels, gains = self._levels[axis].astype(np.float64), self._gains[axis]
        slopes = np.diff(gains) / np.diff(levels)
        gain = self._cvxpy.Variable()
        if (np.diff(slopes) <= TOLERANCE * max(1.0, float(np.abs(slopes).max()))).all():
            offsets = gains[:-1] - slopes * levels[:-1]
            self._rules.append(gain <= offsets + slopes * self._width[axis])
        else:
            chosen = self._cvxpy.Variable(len(levels), boolean=True)
            self._rules += [self._cvxpy.sum(chosen) == 1, levels @ chosen == self._width[axis]]
            self._rules.append(gain == gains @ chosen)
        return gain

    def _add_caps(self, caps: Floats) -> None:
        """Costs as parts of their caps, products replaced by their lower envelopes."""
        forms = self._forms
        squares = {k: self._product(k, k) for k in np.flatnonzero(forms.own.any(axis=0)).tolist()}
        products = [self._product(i, j) for i, j in forms.ends.tolist()]
        threes = [self._triple(axes) for axes in forms.triples.ends.tolist()]
        for r, cap in enumerate(caps.tolist()):
            terms = [c * w for c, w in zip(forms.linear[r] / cap, self._width, strict=True)]
            terms += [forms.own[r, k] / cap * square for k, square in squares.items()]
            terms += [c / cap * p for c, p in zip(forms.coefs[r], products, strict=True)]
            terms += [c / cap * p for c, p in zip(forms.triples.rates[r], threes, strict=True)]
            self._rules.append(self._cvxpy.sum(terms) <= 1.0 - forms.const[r] / cap)

    def _product(self, i: int, j: int) -> Any:
        """The lower envelope of ``w_i · w_j``, in the digits of the one with fewer of them."""
        i, j = sorted((i, j), key=lambda axis: len(self._digits[axis][0]))
        if (i, j) not in self._products:
            low, high = float(self._levels[j][0]), float(self._levels[j][-1])
            self._products[i, j] = self._times(i, self._width[j], low, high)
        return self._products[i, j]

    def _triple(self, axes: Sequence[int]) -> Any:
        """The lower envelope of a product of three widths, in the digits of the least two."""
        i, j, k = sorted(axes, key=lambda axis: len(self._digits[axis][0]))
        low, high = (float(self._levels[j][end] * self._levels[k][end]) for end in (0, -1))
        return self._times(i, self._product(j, k), low, high)

    def _times(self, axis: int, factor: Any, low: float, high: float) -> Any:
        """The lower envelope of the width of an axis times a factor between two numbers."""
        sizes, digits = self._digits[axis]
        parts = self._cvxpy.Variable(len(sizes))
        self._rules += [parts >= factor - high * (1 - digits), parts >= low * digits]
        return float(self._levels[axis][0]) * factor + sizes @ parts
