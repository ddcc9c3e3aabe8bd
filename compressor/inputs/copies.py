"""A copy of a model that can be run, hooked and cut without touching the original."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any, cast

from torch import Tensor, nn

from compressor.errors import CountError
from compressor.inputs.functions import enclosed, foreign
from compressor.inputs.tensors import all_tensors
from compressor.wording import line


def private_copy(model: nn.Module, given: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A deep copy of `model`.

    Masks of `torch.nn.utils.prune`, the old ``weight_norm`` and models that keep an activation hold
    computed tensors, which `copy.deepcopy` refuses. They are made anew by every forward pass, so
    that the copy holds detached ones.

    Args:
        model: Any module.
        given: Tensors that take the place of the model's own, by the identity of these: other
            weights, smaller ones, or more exact ones are put in without copying first.

    Raises:
        CountError: If the model cannot be copied, or the copy would share tensors with it.
    """
    _refuse_closures(model)
    try:
        twin = copy.deepcopy(model, {**_empty(model), **(given or {})})
    except Exception:  # noqa: BLE001 - most likely a computed tensor
        twin = _detached(model, given or {})
    mine = set(map(id, all_tensors(model).values()))
    shared = [name for name, tensor in all_tensors(twin).items() if id(tensor) in mine]
    if shared:
        raise CountError(
            f"copy.deepcopy({type(model).__name__}) shares {shared[0]!r} with the original, which "
            "nothing here may change: a __deepcopy__ of its own returns what it was given. Make it "
            "return a copy"
        )
    return twin


def _refuse_closures(model: nn.Module) -> None:
    """Refuse (CountError) a function kept on a module that means a module by its name.

    In a copy it would still mean the original's.
    """
    mine = {module for module in model.modules() if any(True for _ in module.parameters())}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, FunctionType) and not mine.isdisjoint(_owners(value)):
                raise CountError(
                    f"{f'{name}.{key}'.lstrip('.')!r} is a function that holds a module of the "
                    f"{type(model).__name__}, and in a copy would still run the original's: make "
                    "it a method, or a module of its own"
                )


def _owners(function: FunctionType) -> Iterator[nn.Module]:
    """Modules that a function closes over or names, itself or by a method of theirs.

    PyTorch's own functions (those that `compile` leaves) have a copy of their own.
    """
    if foreign(function.__module__):
        return
    named = (function.__globals__.get(name) for name in function.__code__.co_names)
    for value in (*named, *enclosed(function)):
        owner = value.__self__ if isinstance(value, MethodType) else value
        if isinstance(owner, nn.Module):
            yield owner


def _detached(model: nn.Module, given: Mapping[int, Tensor]) -> nn.Module:
    """A copy in which computed tensors have no history."""
    try:
        return copy.deepcopy(model, {**_computed(model), **given})
    except Exception as error:
        raise CountError(
            f"{type(model).__name__} cannot be copied, and nothing here works on the original: "
            f"{line(error)}. Make copy.deepcopy(model) work"
        ) from error


def _empty(model: nn.Module) -> dict[int, Any]:
    """Copies of the empty dictionaries: half of the time goes into those that wait for hooks."""
    held = (value for module in model.modules() for value in vars(module).values())
    return {id(v): type(v)() for v in held if type(v) in (dict, OrderedDict) and not v}


def _computed(model: nn.Module) -> dict[int, Any]:
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
