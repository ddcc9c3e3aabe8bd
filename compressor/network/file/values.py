"""Arguments of steps as JSON: short, and nothing but what is listed here comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from compressor.network.steps import Ref, Value, Weight

_TYPES = (
    *("float64", "float32", "float16", "bfloat16", "complex64", "complex128"),
    *("int64", "int32", "int16", "int8", "uint8", "bool"),
)
_OBJECTS: Mapping[str, Any] = {
    **{name: getattr(torch, name) for name in _TYPES},
    "contiguous_format": torch.contiguous_format,
    "preserve_format": torch.preserve_format,
    "channels_last": torch.channels_last,
    "strided": torch.strided,
    "inf": float("inf"),
    "-inf": float("-inf"),
}
"""Values that JSON has no form for, by the name behind a ``#``."""

_DIGITS = 12
"""Digits of a number of a result or tensor, at most."""

_DEVICE = "device"
"""Stands for any device: a network runs where its input is."""


def written(value: Value, place: Mapping[str, int], here: int, weights: Mapping[str, int]) -> Any:
    """An argument as JSON; ValueError if there is no form for it.

    A result is ``%`` and how many results ago it was made, 1 for the one just before, a tensor
    ``@`` and its number, text has a quote before it. `place` and `weights` are the numbers of
    results and tensors by name, `here` that of the step that reads it.
    """
    if isinstance(value, list | tuple):
        return [written(item, place, here, weights) for item in cast("list[Value]", value)]
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Value]", value).items()
        return {key: written(item, place, here, weights) for key, item in items}
    if isinstance(value, Ref):
        return f"%{here - place[value.name]}"
    return f"@{weights[value.name]}" if isinstance(value, Weight) else _leaf(value)


def read(value: Any, results: Sequence[str], weights: Sequence[str]) -> Value:
    """The argument that `written` was given, with tuples for lists; ValueError if it has none.

    Takes time for the value alone, however many `results` so far (inputs first) and `weights`
    there are.
    """
    if isinstance(value, list):
        return tuple(read(item, results, weights) for item in cast("list[Any]", value))
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: read(item, results, weights) for key, item in items}
    return _meant(value, results, weights) if isinstance(value, str) else value


def type_of(name: str) -> torch.dtype:
    """A data type by its name; ValueError if there is none."""
    if name not in _TYPES:
        raise ValueError(f"{name!r} is no data type; known are {', '.join(_TYPES)}")
    return cast("torch.dtype", _OBJECTS[name])


def _leaf(value: Value) -> Any:
    if isinstance(value, str):
        return f"'{value}"
    if isinstance(value, torch.device):
        return f"#{_DEVICE}"
    for name, known in _OBJECTS.items():
        if type(value) is type(known) and value == known:
            return f"#{name}"
    if value is not None and not isinstance(value, bool | int | float):
        raise ValueError(f"{value!r} cannot be stored as an argument")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError("an argument that is no number (NaN) cannot be stored")
    return value


def _meant(text: str, results: Sequence[str], weights: Sequence[str]) -> Value:
    kind, rest = text[:1], text[1:]
    if kind == "%":
        return Ref(results[len(results) - _number(rest, len(results), first=1)])
    if kind == "@":
        return Weight(weights[_number(rest, len(weights), first=0)])
    if kind == "'":
        return rest
    if kind == "#" and rest in {*_OBJECTS, _DEVICE}:
        return _OBJECTS.get(rest, torch.device("cpu"))
    raise ValueError(f"the argument {text!r} has no meaning")


def _number(text: str, count: int, *, first: int) -> int:
    """A number from `first` on, of so many that there are."""
    number = int(text) if len(text) < _DIGITS and text.isdecimal() else -1
    if not first <= number < first + count:
        raise ValueError(f"an argument names number {text[:_DIGITS]!r} of {count}")
    return number
