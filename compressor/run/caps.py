"""Caps on the way to a budget, where several shrinks lead to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.budget import Budget, Cost


def among(caps: Mapping[str, Any]) -> Budget:
    """A budget of some caps, by name; which file one on bytes is on, the run knows."""
    return Budget(**caps)


def on_the_way(budget: Budget, now: Cost, remaining: int) -> Budget:
    """Caps for the next of `remaining` shrinks: in equal ratios from `now` to the budget."""
    caps = dict(budget.caps)
    for name, cap in budget.caps.items():
        cost = getattr(now, name)
        if remaining > 1 and cost > cap:
            caps[name] = max(cap, int(cost * (cap / cost) ** (1 / remaining)))
    return among(caps)
