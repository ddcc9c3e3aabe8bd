"""How many cases a law is tried on: few in every run of the tests, many in `make explore`."""

from __future__ import annotations

import os

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "repeat")


def cases(few: int, many: int) -> int:
    """`many` where new cases are drawn, `few` where the same ones are repeated."""
    return many if PROFILE == "explore" else few
