"""What an importance must be, in the words of messages."""

from __future__ import annotations

FORM = "f(graph, tensors, evidence) -> one score per unit"
"""How an importance is called, and what it gives."""

EMPTY = (
    ". A single number is what a sum over empty evidence gives: where there is no data, evidence "
    "is empty; pass a loader"
)
"""What may be the matter with a single number."""


def one_each(units: int, found: str) -> str:
    """How many scores there must be, and their shape, or what they are instead."""
    return f"one per unit, shape ({units},), not {found}{EMPTY * (found == '()')}"
