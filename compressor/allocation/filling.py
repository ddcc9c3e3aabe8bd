"""Moves that bring a point within the caps, use up what is left of them, and trade one axis.

All work on places (the number of each free axis' level) and price a move by what it takes of the
scarce caps: ``prices · change``, with prices per unit of cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compressor.allocation.forms import Forms, compile_forms
from compressor.allocation.problem import Floats, Integers, Problem

TINY = 1e-30
"""Price of a step that costs nothing scarce: it goes first."""


@dataclass
class State:
    """A point under construction, with what the moves need kept up to date.

    Attributes:
        forms: The costs.
        places: Level of every free axis.
        widths: Their widths.
        marginal: Cost of one more unit that comes from products, shape (R, F).
        bend: Coefficients of the squares, shape (R, F).
        slack: What is left of every cap; negative where it is exceeded.
    """

    forms: Forms
    places: Integers
    widths: Integers
    marginal: Integers
    bend: Integers
    slack: Integers

    @staticmethod
    def at(forms: Forms, places: Integers) -> State:
        """The state at `places`."""
        widths = forms.width(places)
        slack = forms.caps - forms.cost(widths)
        marginal, bend = forms.marginal(widths), forms.bend(widths)
        return State(forms, places.copy(), widths, marginal, bend, slack)

    def steps(self, by: int) -> tuple[Integers, Floats, Integers]:
        """Moving each axis alone by `by` levels, as far as its range allows.

        Change of width (F,), of objective (F,), of cost (R, F); all zero for an axis at its end.
        """
        forms = self.forms
        here = forms.starts + self.places
        there = forms.starts + np.minimum(np.maximum(self.places + by, 0), forms.last)
        steps = forms.widths[there] - self.widths
        change = forms.change(self.widths, self.marginal, self.bend, steps)
        return steps, forms.gains[there] - forms.gains[here], change

    def move(self, axis: int, by: int) -> None:
        """Move one axis by `by` levels, which its range must allow."""
        forms = self.forms
        self.places[axis] += by
        width = forms.widths[forms.starts[axis] + self.places[axis]]
        step = width - self.widths[axis]
        rate = self.marginal[:, axis] + forms.linear[:, axis]
        self.slack -= (rate + self.bend[:, axis] * (2 * self.widths[axis] + step)) * step
        others, coefs = forms.neighbours[axis]
        self.marginal[:, others] += coefs * step
        if len(forms.triples):
            self.slack -= forms.triples.move(axis, int(step), self.widths, self.marginal, self.bend)
        self.widths[axis] = width


def fill(state: State, prices: Floats) -> None:
    """Widen axes, best gain per scarce cost first, until not one of them can grow by a level.

    Args:
        state: A point that meets every cap; changed in place.
        prices: Price of a unit of each cost, shape (R,); all zero to go by what is left of each.
    """
    while True:
        stride, (steps, gains, change) = 1, state.steps(1)
        fits = _fitting(state, steps, change)
        if not fits.any():
            return
        if (large := _stride(state.slack, change)) > 1:
            moves = state.steps(large)
            few = _fitting(state, moves[0], moves[2])
            if few.any():
                stride, (steps, gains, change), fits = large, moves, few
        scarce = prices if prices.any() else 1.0 / np.maximum(state.slack, 1)
        worth = np.where(fits, gains / np.maximum(scarce @ change, TINY), -1.0)
        axis = int(worth.argmax())
        room = state.forms.counts[axis] - 1 - state.places[axis]
        state.move(axis, int(min(stride, room)))


def _fitting(state: State, steps: Integers, change: Integers) -> NDArray[np.bool_]:
    """Find the steps that are steps at all and stay within every cap."""
    return (steps != 0) & (change <= state.slack[:, None]).all(axis=0)


def _stride(room: Integers, change: Integers) -> int:
    """Number of levels to move at once while there is much room.

    A quarter of what would be left if all axes shared it: a move is then still a small one, and
    the number of moves does not grow with the width of the network.
    """
    each = np.abs(change).sum(axis=1)
    shares = [int(r) // (4 * int(c)) for r, c in zip(room, each, strict=True) if c]
    return max(1, min(shares, default=1))


def trim(state: State, prices: Floats) -> None:
    """Narrow axes, least loss per saving first, until every cap is met.

    Only savings in the caps that are exceeded count. The smallest widths must meet every cap.
    """
    while (over := state.slack < 0).any():
        steps, gains, change = state.steps(-1)
        stride = _stride(np.maximum(-state.slack, 0)[over], change[over])
        if stride > 1:
            steps, gains, change = state.steps(-stride)
        weight = np.where(over, np.maximum(prices, 1.0 / state.forms.caps), 0.0)
        saved = -(weight @ change)
        usable = (steps < 0) & (saved > 0)
        loss = np.where(usable, -gains / np.maximum(saved, TINY), np.inf)
        axis = int(loss.argmin())
        state.move(axis, -int(min(stride, state.places[axis])))


def exchange(state: State, prices: Floats, *, reach: int, limit: int) -> int:
    """Narrow one axis and widen another while that gains and fits; fill after each exchange.

    The point, which meets every cap, is changed in place; either axis moves by at most `reach`
    levels at once. Returns how many exchanges were made, at most `limit`.
    """
    moves = [(down, up) for down in range(1, reach + 1) for up in range(1, reach + 1)]
    for done in range(limit):
        options = [_best_pair(state, down, up) for down, up in moves]
        best = max(range(len(options)), key=lambda n: options[n][0])
        gain, narrow, widen = options[best]
        if gain <= 1e-12 * state.forms.problem.scale:
            return done
        state.move(narrow, -moves[best][0])
        state.move(widen, moves[best][1])
        fill(state, prices)
    return limit


def _best_pair(state: State, down: int, up: int) -> tuple[float, int, int]:
    """The exchange of `down` levels of one axis for `up` of another that gains most."""
    narrower, losses, saved = state.steps(-down)
    wider, gains, spent = state.steps(up)
    gain = losses[:, None] + gains[None, :]
    fits = np.ones(gain.shape, dtype=bool)
    fits[state.places < down, :] = False
    fits[:, state.places + up >= state.forms.counts] = False
    np.fill_diagonal(fits, val=False)
    # What both axes are in changes by coef · step · step, which is a saving: one step is down,
    # the other up. Where the coefficients are not at hand it is left out: dearer, never too cheap.
    cross = state.forms.cross
    if cross is not None and len(state.forms.triples):
        cross = cross + state.forms.triples.meeting(state.widths, narrower, wider)
    for r in range(len(state.slack)):
        cost = saved[r][:, None] + spent[r][None, :]
        if cross is not None:
            cost = cost + cross[r] * (narrower[:, None] * wider[None, :])
        fits &= cost <= state.slack[r]
    gain = np.where(fits, gain, -np.inf)
    best = int(gain.argmax())
    narrow, widen = divmod(best, len(gain))
    return float(gain[narrow, widen]), narrow, widen


def blocked(problem: Problem, widths: Integers) -> tuple[str, ...]:
    """The caps that keep at least one axis from taking its next level, from these widths."""
    forms = compile_forms(problem)
    if not len(forms.free):
        return ()
    state = State.at(forms, forms.nearest(widths[forms.free]))
    stopped = (state.steps(1)[2] > state.slack[:, None]).any(axis=1)
    return tuple(problem.resources[r] for r in np.flatnonzero(stopped).tolist())
