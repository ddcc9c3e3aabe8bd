"""Sizes among the attributes of a module: whole numbers, and those in lists and tuples of them.

``width`` names the attribute itself, ``widths[1]`` the second number of a list or tuple.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn


def sizes_of(module: nn.Module) -> dict[str, int]:
    """All of them by name."""
    found: dict[str, int] = {}
    for name, value in vars(module).items():
        if type(value) is int:
            found[name] = value
        elif type(value) in (list, tuple) and all(type(n) is int for n in value):
            found |= {element(name, at): n for at, n in enumerate(value)}
    return found


def element(name: str, at: int) -> str:
    """The name of one number of a list or tuple."""
    return f"{name}[{at}]"


def size_at(module: nn.Module, name: str) -> int | None:
    """The number of a name, None where there is none."""
    return sizes_of(module).get(name)


def set_size(module: nn.Module, name: str, size: int) -> None:
    """Put another number in the place of one; a list or tuple stays what it is."""
    whole, bracket, place = name.partition("[")
    if not bracket:
        setattr(module, name, size)
        return
    held = cast("list[Any] | tuple[Any, ...]", getattr(module, whole))
    changed = list(held)
    changed[int(place.removesuffix("]"))] = size
    setattr(module, whole, type(held)(changed))
