"""What makes a run this one and no other, as plain data that is equal in every process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from compressor import randomness, storage
from compressor.batches import Batches, tensors
from compressor.budget import Budget
from compressor.training import all_tensors


def identify(
    model: nn.Module, budget: Budget, schedule: Sequence[object], **others: object
) -> dict[str, Any]:
    """What makes a run this one and no other, as plain data.

    Args:
        model: The original.
        budget: The caps.
        schedule: The phases.
        others: Anything else that decides the result, by name.
    """
    values = all_tensors(model)
    return {
        "model": type(model).__name__,
        "shapes": {name: list(tensor.shape) for name, tensor in values.items()},
        "initial weights": storage.numbers(values),
        "budget": str(budget),
        "schedule": [describe(phase) for phase in schedule],
        **{name: describe(value) for name, value in others.items()},
    }


def first_digest(data: Batches) -> str:
    """A digest of the first batch that a loader yields after a fixed seed.

    The loader is read as it was given, so that it is the same in every process of a run. It is
    read twice: a data set with a generator of its own, or with none that is seeded, yields another
    batch each time, and then only shapes and data types say which data it is.
    """
    one, two = _first(data.source), _first(data.source)
    if storage.numbers(one) == storage.numbers(two):
        return storage.numbers(one)
    return "; ".join(f"{tuple(t.shape)} {t.dtype}" for t in one.values())


def describe(value: object) -> str:
    """A text that is the same in every process for equal settings.

    Functions are named by where they are defined, with their defaults and what they close over;
    those whose name says little (lambdas, functions inside functions or in a script) also by their
    code.
    Objects of other classes are named by their class, as what they hold may change while they work.
    """
    return _describe(value, ())


def _describe(value: object, within: tuple[int, ...]) -> str:
    if id(value) in within:
        return "..."  # a function that closes over itself
    inside = (*within, id(value))
    for known, write in _WRITERS:
        if isinstance(value, known) and not isinstance(value, type):
            return write(value, inside)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return f"{type(value).__name__}({_pairs(pairs, inside)})"
    if callable(value):
        named = value if hasattr(value, "__qualname__") else cast("Callable[..., Any]", type(value))
        return f"{named.__module__}.{named.__qualname__}"
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text


def _function(value: FunctionType, inside: tuple[int, ...]) -> str:
    """Where a function is defined and what it was given there."""
    code, defaults = value.__code__, value.__defaults__ or ()
    arguments = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
    named = dict(zip(arguments, defaults, strict=True)) | (value.__kwdefaults__ or {})
    for name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True):
        try:
            named[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    parts = [_pairs(named, inside)] if named else []
    if "<" in value.__qualname__ or value.__module__ == "__main__":
        parts.append(f"code {_code(code)[:12]}")
    text = f"{value.__module__}.{value.__qualname__}"
    return f"{text}({', '.join(parts)})" if parts else text


def _code(code: CodeType) -> str:
    """A digest of what a function does: line numbers and names of files play no part."""
    constants = [_code(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    whole = (code.co_code, code.co_names, code.co_varnames, constants)
    return hashlib.sha256(repr(whole).encode()).hexdigest()


def _constant(value: object) -> str:
    """A constant as text; sets of strings are ordered differently in every process."""
    if isinstance(value, frozenset):
        return repr(sorted(map(repr, cast("frozenset[object]", value))))
    return repr(value)


def _partial(value: functools.partial[object], inside: tuple[int, ...]) -> str:
    parts = [_describe(v, inside) for v in (value.func, *value.args)]
    parts += [f"{name}={_describe(v, inside)}" for name, v in value.keywords.items()]
    return f"partial({', '.join(parts)})"


def _module(value: nn.Module, inside: tuple[int, ...]) -> str:
    """A module's class, plain settings and numbers; a loss may hold one."""
    plain = {
        f"{name}.{key}".lstrip("."): content
        for name, module in value.named_modules()
        for key, content in vars(module).items()
        if not key.startswith("_")
        and key != "training"
        and isinstance(content, (bool, int, float, str))
    }
    digest = storage.numbers(all_tensors(value))[:12]
    return f"{type(value).__qualname__}({_pairs(plain | {'tensors': digest}, inside)})"


def _tensor(value: Tensor, inside: tuple[int, ...]) -> str:  # noqa: ARG001 - one form for all
    return f"tensor {tuple(value.shape)} {storage.numbers({'': value})[:12]}"


def _array(value: np.ndarray[Any, Any], inside: tuple[int, ...]) -> str:  # noqa: ARG001
    digest = hashlib.sha256(repr(value.tolist()).encode()).hexdigest()
    return f"array {value.shape} {digest[:12]}"


def _list(value: Sequence[object], inside: tuple[int, ...]) -> str:
    return f"[{', '.join(_describe(v, inside) for v in value)}]"


def _set(value: frozenset[object], inside: tuple[int, ...]) -> str:
    return f"{{{', '.join(sorted(_describe(v, inside) for v in value))}}}"


def _mapping(value: Mapping[object, object], inside: tuple[int, ...]) -> str:
    return f"{{{_pairs(value, inside)}}}"


def _pairs(values: Mapping[Any, object], inside: tuple[int, ...]) -> str:
    return ", ".join(f"{name}={_describe(v, inside)}" for name, v in values.items())


_WRITERS: tuple[tuple[Any, Callable[[Any, tuple[int, ...]], str]], ...] = (
    (functools.partial, _partial),
    (FunctionType, _function),
    (nn.Module, _module),
    (Tensor, _tensor),
    (np.ndarray, _array),
    ((tuple, list), _list),
    ((set, frozenset), _set),
    (Mapping, _mapping),
)


def _first(source: Any) -> dict[str, Tensor]:
    """Tensors of the first batch after a fixed seed; no random state moves."""
    with randomness.preserved(source):
        randomness.seed_everything(0)
        for generator in randomness.generators(source):
            generator.manual_seed(0)
        batch = next(iter(source))
    found: dict[str, Tensor] = {}
    for number, tensor in enumerate(tensors(batch)):
        strided = tensor.layout is torch.strided
        found[str(number)] = tensor if strided else tensor.to_dense()
    return found
