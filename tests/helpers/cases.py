"""How many cases a law is tried on: few in every run of the tests, many in `make explore`."""

from __future__ import annotations

import os
from collections.abc import Iterable

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "repeat")


def cases(few: int, many: int) -> int:
    """`many` where new cases are drawn, `few` where the same ones are repeated."""
    return many if PROFILE == "explore" else few


def some(names: Iterable[str], every: int, first: int = 0) -> list[str]:
    """Every so many of these names; all of them in `make explore`."""
    found = list(names)
    return found if PROFILE == "explore" else found[first::every]
