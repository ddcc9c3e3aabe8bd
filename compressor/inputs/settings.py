"""Checks of settings that say which one was given as what, and what is allowed."""

from __future__ import annotations

import math
import operator
from numbers import Integral, Real
from typing import cast

from compressor.wording import brief


def check_whole(owner: str, least: int = 0, **values: object) -> None:
    """Check that settings are whole numbers of at least `least`.

    Args:
        owner: What they are settings of, for the message.
        least: The smallest that is allowed.
        values: The settings by name.

    Raises:
        ValueError: If one is not.
    """
    for name, value in values.items():
        if _is_a(Integral, value) and operator.index(cast("int", value)) >= least:
            continue
        raise ValueError(
            f"{owner}({name}={brief(value)}): must be a whole number, at least {least}"
        )


def check_number(owner: str, least: float = 0, **values: object) -> None:
    """Check that settings are finite numbers of at least `least`; as `check_whole` otherwise."""
    for name, value in values.items():
        if _is_a(Real, value) and least <= float(cast("float", value)) < math.inf:
            continue
        raise ValueError(f"{owner}({name}={brief(value)}): must be a number, at least {least}")


def _is_a(kind: type, value: object) -> bool:
    """True if a value is a number of some kind, of Python or numpy; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)
