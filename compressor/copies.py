"""A copy of a model that can be run, hooked and cut without touching the original."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor, nn

from compressor.errors import CountError


def private_copy(model: nn.Module) -> nn.Module:
    """A deep copy of `model`.

    Masks of `torch.nn.utils.prune`, the old ``weight_norm`` and models that keep an activation hold
    computed tensors, which `copy.deepcopy` refuses. They are made anew by every forward pass, so
    that the copy holds detached ones.

    Raises:
        CountError: If the model cannot be copied.
    """
    try:
        return copy.deepcopy(model, _empty(model))
    except Exception:  # noqa: BLE001, S110 - most likely a computed tensor
        pass
    try:
        return copy.deepcopy(model, _computed(model))
    except Exception as error:
        raise CountError(
            f"{type(model).__name__} cannot be copied, and nothing here works on the original: "
            f"{str(error).splitlines()[0]}. Make copy.deepcopy(model) work"
        ) from error


def _empty(model: nn.Module) -> dict[int, Any]:
    """Copies of the empty dictionaries: half of the time goes into those that wait for hooks."""
    held = (value for module in model.modules() for value in vars(module).values())
    return {id(v): type(v)() for v in held if type(v) in (dict, OrderedDict) and not v}


def _computed(model: nn.Module) -> dict[int, Any]:
    """Copies of the tensors that have a history."""
    held = (tensor for module in model.modules() for tensor in _tensors(vars(module), set()))
    return {id(tensor): tensor.detach().clone() for tensor in held if not tensor.is_leaf}


def _tensors(value: object, seen: set[int]) -> Iterator[Tensor]:
    """Every tensor in nested containers; modules below are not entered."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in cast("Mapping[Any, Any]", value).values():
            yield from _tensors(item, seen)
    elif isinstance(value, (list, tuple, set)):
        for item in cast("list[Any]", value):
            yield from _tensors(item, seen)
