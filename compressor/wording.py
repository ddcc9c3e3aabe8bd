"""Names of given values in errors: a few words, however large the value is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from numbers import Number
from typing import cast

import numpy as np
from torch import Tensor

LONGEST = 60
"""Characters of a text, number or small value that a message shows."""

MOST = 3
"""Differences of one kind that an error names."""


def brief(value: object) -> str:
    """A value in a few words: numbers and texts as they are, everything else by its kind.

    In full, a loader, a model or a tensor would bury the sentence that says what to do.
    """
    if value is None or isinstance(value, (str, bytes, Number)):
        return _shortened(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return kind(value)


def kind(value: object, depth: int = 0) -> str:
    """Name the kind of a value, with its size: ``a tensor of shape (8, 3)``."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        shape = cast("np.ndarray[tuple[int, ...], np.dtype[np.generic]]", value).shape
        return f"a numpy array of shape {shape}"
    if isinstance(value, (str, bytes)):
        return f"a {type(value).__name__}"
    if isinstance(value, Mapping):
        keys = cast("Mapping[object, object]", value)
        return f"{_a(keys)} with {listed(map(brief, keys), len(keys))}"
    if isinstance(value, (tuple, list)):
        items = cast("list[object]", value)
        inside = (kind(item, depth + 1) for item in items)
        what = f" ({listed(inside, len(items))})" if items and not depth else ""
        return f"{_a(items)} of {len(items)}{what}"
    return _a(value)


def line(error: BaseException) -> str:
    """The first line of what an error says; empty where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "")


def many(count: int, noun: str) -> str:
    """A number of things: ``1 group``, ``1,200 groups``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def first_few(texts: list[str], what: str) -> list[str]:
    """The first few of several texts, and how many more there are."""
    more = [f"{len(texts) - MOST} {what}"] if len(texts) > MOST else []
    return texts[:MOST] + more


def _a(value: object) -> str:
    """The name of a value's class, with its article."""
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def listed(words: Iterable[str], count: int, most: int = 4) -> str:
    """The first of `count` words, and how many more there are."""
    shown = ", ".join(islice(words, most)) or "nothing"
    return f"{shown} and {count - most} more" if count > most else shown


def _shortened(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number too long for Python to write out
        return f"an {type(value).__name__} of {cast('int', value).bit_length():,} bits"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 20]}... ({len(text):,} characters)"
