"""Checks of settings that say which one was given as what, and what is allowed."""

from __future__ import annotations

import math
import operator
from numbers import Integral, Real
from typing import cast

from compressor.wording import brief


def check_whole(owner: str, least: int = 0, **values: object) -> None:
    """Raise a ValueError unless `values`, settings of `owner`, are whole and at least `least`."""
    for name, value in values.items():
        if _is_a(Integral, value) and operator.index(cast("int", value)) >= least:
            continue
        raise ValueError(
            f"{owner}({name}={brief(value)}): must be a whole number, at least {least}"
        )


def check_number(owner: str, least: float = 0, **values: object) -> None:
    """The same for finite numbers."""
    for name, value in values.items():
        if _is_a(Real, value) and least <= float(cast("float", value)) < math.inf:
            continue
        raise ValueError(f"{owner}({name}={brief(value)}): must be a number, at least {least}")


def check_flag(owner: str, **values: object) -> None:
    """The same for True and False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{owner}({name}={brief(value)}): must be True or False")


def check_positive(owner: str, **values: object) -> None:
    """The same for finite numbers that are more than 0."""
    for name, value in values.items():
        if not (_is_a(Real, value) and 0 < float(cast("float", value)) < math.inf):
            raise ValueError(f"{owner}({name}={brief(value)}): must be a number, more than 0")


def check_share(owner: str, **values: object) -> None:
    """The same for numbers from 0 up to, but not including, 1."""
    for name, value in values.items():
        if not (_is_a(Real, value) and 0 <= float(cast("float", value)) < 1):
            raise ValueError(f"{owner}({name}={brief(value)}): must be a number from 0 to below 1")


def _is_a(kind: type, value: object) -> bool:
    """True and False are no numbers."""
    return isinstance(value, kind) and not isinstance(value, bool)
