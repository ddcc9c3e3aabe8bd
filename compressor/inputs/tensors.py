"""Tensors of any module, by name and on which device, and what lies in nested containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressor.wording import first_few


def leaves(value: Any) -> Iterator[Any]:
    """Everything in nested tuples, lists and dictionaries, in order."""
    if isinstance(value, Mapping):
        value = tuple(cast("Mapping[Any, Any]", value).values())
    if isinstance(value, list | tuple):
        for item in cast("tuple[Any, ...]", value):
            yield from leaves(item)
    else:
        yield value


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All parameters, then all buffers, under all their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first tensor; the CPU where it has none."""
    return next((tensor.device for _, tensor in named_tensors(model)), torch.device("cpu"))


def all_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every distinct parameter and buffer by name, those outside the state dict included."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def first_names(model: nn.Module) -> dict[str, str]:
    """Every parameter and buffer name -> the first name of the same tensor."""
    seen: dict[int, str] = {}
    return {name: seen.setdefault(id(tensor), name) for name, tensor in named_tensors(model)}


def fill(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy values into a model's parameters and buffers."""
    with torch.no_grad():
        for name, tensor in all_tensors(model).items():
            tensor.copy_(values[name])


def check_tensors(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Check that tensors are those of a model: copying would spread a smaller one without a word.

    Raises:
        ValueError: If they are not.
    """
    own = {name: (t.shape, t.dtype) for name, t in all_tensors(model).items()}
    found = {name: (t.shape, t.dtype) for name, t in values.items()}
    if own != found:
        wrong = [name for name in own | found if own.get(name) != found.get(name)]
        named = ", ".join(first_few(wrong, "more"))
        raise ValueError(f"{named}: other tensors than the model's")
