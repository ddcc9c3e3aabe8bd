"""A copy of a model that can be run, hooked and cut without touching the original."""

from __future__ import annotations

import copy
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
    held = (tensor for module in model.modules() for tensor in _tensors(vars(module), set()))
    memo = {id(tensor): tensor.detach().clone() for tensor in held if not tensor.is_leaf}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise CountError(
            f"{type(model).__name__} cannot be copied, and nothing here works on the original: "
            f"{str(error).splitlines()[0]}. Make copy.deepcopy(model) work"
        ) from error


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
