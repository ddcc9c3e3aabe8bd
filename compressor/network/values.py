"""Arguments of steps as JSON: short, and nothing but what is listed here comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from compressor.network.steps import Ref, Value, Weight

_TYPES = (
    "float64 float32 float16 bfloat16 complex64 complex128 int64 int32 int16 int8 uint8 bool"
).split()
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

_DEVICE = "#device"
"""Stands for any device: a network runs where its input is."""


def written(value: Value, results: Mapping[str, int], weights: Mapping[str, int]) -> Any:
    """An argument as JSON.

    A result is ``%`` and how many results ago it was made, a tensor ``@`` and its number, text has
    a quote before it.

    Args:
        value: The argument.
        results: How many results ago each was made, by name.
        weights: Number of every tensor, by name.

    Raises:
        ValueError: If there is no form for it.
    """
    if isinstance(value, Ref):
        return f"%{results[value.name]}"
    if isinstance(value, Weight):
        return f"@{weights[value.name]}"
    if isinstance(value, str):
        return f"'{value}"
    if isinstance(value, torch.device):
        return _DEVICE
    if isinstance(value, list | tuple):
        return [written(item, results, weights) for item in cast("list[Value]", value)]
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Value]", value).items()
        return {key: written(item, results, weights) for key, item in items}
    for name, known in _OBJECTS.items():
        if type(value) is type(known) and value == known:
            return f"#{name}"
    if value is None or (isinstance(value, bool | int | float) and value == value):
        return value
    raise ValueError(f"{value!r} cannot be stored as an argument")


def read(value: Any, results: Sequence[str], weights: Sequence[str]) -> Value:
    """The argument that `written` was given, with tuples for lists.

    Args:
        value: From JSON.
        results: Names of the results so far, inputs first.
        weights: Names of the tensors.

    Raises:
        ValueError: If it has no meaning.
    """
    if isinstance(value, list):
        return tuple(read(item, results, weights) for item in cast("list[Any]", value))
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: read(item, results, weights) for key, item in items}
    if not isinstance(value, str):
        return value
    kind, rest = value[:1], value[1:]
    if kind == "%":
        return Ref(_item(results, -int(rest), value))
    if kind == "@":
        return Weight(_item(weights, int(rest), value))
    if kind == "'":
        return rest
    if value == _DEVICE:
        return torch.device("cpu")
    if kind == "#" and rest in _OBJECTS:
        return _OBJECTS[rest]
    raise ValueError(f"the argument {value!r} has no meaning")


def type_of(name: str) -> torch.dtype:
    """A data type by its name.

    Raises:
        ValueError: If there is none.
    """
    if name not in _TYPES:
        raise ValueError(f"{name!r} is no data type; known are {', '.join(_TYPES)}")
    return cast("torch.dtype", _OBJECTS[name])


def _item(names: Sequence[str], at: int, text: str) -> str:
    if not -len(names) <= at < len(names):
        raise ValueError(f"the argument {text!r} names something that does not exist")
    return names[at]
