"""Courses of the learning rate over a phase."""

from __future__ import annotations

import math
from collections.abc import Callable

Decay = Callable[[float], float]
"""Learning-rate factor as a function of how much of the phase is over, from 0 to 1."""


def cosine(over: float) -> float:
    """From 1 down to 0 along half a cosine (Loshchilov and Hutter 2017, equation 5)."""
    return 0.5 * (1 + math.cos(math.pi * over))


def constant(over: float) -> float:  # noqa: ARG001 - a Decay
    """The same learning rate all along."""
    return 1.0
