"""The identity of a run, as plain data that is equal in every process."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from compressor import storage
from compressor.budget import Budget
from compressor.inputs import randomness
from compressor.inputs.batches import Batches, tensors
from compressor.inputs.tensors import all_tensors

_OWN = frozenset((*vars(nn.Module()), "example_input_array"))
"""Attributes of a module that are told by other means. The example is told by its shape: its values
are often drawn at random, and decide nothing."""

_PLACE = re.compile(r"\bcompressor\.(?:\w+\.)*(\w+)")

LONGEST = 1000
"""Characters of a module's setting that are kept; longer ones are told by their digest."""


def identify(
    model: nn.Module, budget: Budget, schedule: Sequence[object], **others: object
) -> dict[str, Any]:
    """Everything that tells a run from others, as plain data.

    Args:
        model: The original.
        budget: The caps.
        schedule: The phases.
        others: Anything else that decides the result, by name.
    """
    values = all_tensors(model)
    return {
        "model": type(model).__name__,
        "shape": {name: list(tensor.shape) for name, tensor in values.items()},
        "settings": {name: _behaviour(module) for name, module in model.named_modules()},
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
    code. Bound methods and modules are described with the settings they hold.
    Objects of other classes are named by their class, as what they hold may change while they work.
    """
    return _describe(value, ())


def placeless(value: Any) -> Any:
    """A part of an identity in which functions of this library are named without their module.

    Where they are defined differs from version to version, and decides nothing.
    """
    if isinstance(value, str):
        return _PLACE.sub(r"compressor.\1", value)
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {name: placeless(part) for name, part in items}
    if isinstance(value, (list, tuple)):
        return [placeless(part) for part in cast("Sequence[Any]", value)]
    return value


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
    unstable = not isinstance(value, str) and re.search(r"\b0x[0-9a-fA-F]{6,}", text)
    return type(value).__qualname__ if unstable else text


def _function(value: FunctionType, inside: tuple[int, ...]) -> str:
    """Place where a function is defined, and the values it was given there."""
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
    return _hashed(repr(whole))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _constant(value: object) -> str:
    """A constant as text; sets of strings are ordered differently in every process."""
    if isinstance(value, frozenset):
        return repr(sorted(map(repr, cast("frozenset[object]", value))))
    return repr(value)


def _partial(value: functools.partial[object], inside: tuple[int, ...]) -> str:
    parts = [_describe(v, inside) for v in (value.func, *value.args)]
    parts += [f"{name}={_describe(v, inside)}" for name, v in value.keywords.items()]
    return f"partial({', '.join(parts)})"


def _method(value: MethodType, inside: tuple[int, ...]) -> str:
    """A function and what it is bound to: a module, a frozen set of settings, or a class."""
    owner = value.__self__
    told = isinstance(owner, nn.Module) or dataclasses.is_dataclass(owner)
    name = _describe(owner, inside) if told else type(owner).__qualname__
    return f"{_describe(value.__func__, inside)} of {name}"


def _module(value: nn.Module, inside: tuple[int, ...]) -> str:
    """A module's class, settings and numbers; a loss may hold one."""
    parts = [
        f"{name}.{key}".lstrip(".") + f"={text}"
        for name, module in value.named_modules()
        for key, text in _settings(module, inside).items()
    ]
    digest = storage.numbers(all_tensors(value))[:12]
    return f"{type(value).__qualname__}({', '.join((*parts, f'tensors={digest}'))})"


def _behaviour(module: nn.Module) -> dict[str, str]:
    """The work of one module of a network and its training, by setting."""
    frozen = [n for n, p in module.named_parameters(recurse=False) if not p.requires_grad]
    flags = {"training": str(module.training), "frozen parameters": str(frozen)}
    return {"class": type(module).__qualname__, **flags, **_settings(module, (id(module),))}


def _settings(module: nn.Module, inside: tuple[int, ...]) -> dict[str, str]:
    """A module's own attributes and the code of its forward pass; its submodules have theirs."""
    found: dict[str, str] = {}
    for key, value in vars(module).items():
        computed = isinstance(value, Tensor) and not value.is_leaf  # by the last forward pass
        if key not in _OWN and not computed:
            text = _describe(value, inside)
            found[key] = text if len(text) <= LONGEST else f"sha256 {_hashed(text)}"
    code = [f"{name} {_code(function.__code__)}" for name, function in _passes(type(module))]
    return found | ({"code": _hashed("; ".join(code))[:12]} if code else {})


def _passes(kind: type[nn.Module]) -> Iterator[tuple[str, FunctionType]]:
    """A class' `forward` and the methods it names, and those these name; not those of torch.

    What torch's own layers do is a matter of their class and settings.
    """
    seen: set[str] = set()
    names = ["forward"]
    while names:
        name = names.pop(0)
        method: object = inspect.unwrap(cast("Any", getattr(kind, name, None)))
        if name in seen or not isinstance(method, FunctionType):
            continue
        seen.add(name)
        if not str(method.__module__).startswith("torch."):
            yield name, method
            names += method.__code__.co_names


def _pairs(values: Mapping[Any, object], inside: tuple[int, ...]) -> str:
    return ", ".join(f"{name}={_describe(v, inside)}" for name, v in values.items())


_WRITERS: tuple[tuple[Any, Callable[[Any, tuple[int, ...]], str]], ...] = (
    (functools.partial, _partial),
    (FunctionType, _function),
    (MethodType, _method),
    (nn.Module, _module),
    (Tensor, lambda t, _: f"tensor {tuple(t.shape)} {storage.numbers({'': t})[:12]}"),
    (np.ndarray, lambda a, _: f"array {a.shape} {_hashed(repr(a.tolist()))[:12]}"),
    ((tuple, list), lambda v, inside: f"[{', '.join(_describe(x, inside) for x in v)}]"),
    (
        (set, frozenset),
        lambda v, inside: f"{{{', '.join(sorted(_describe(x, inside) for x in v))}}}",
    ),
    (Mapping, lambda v, inside: f"{{{_pairs(v, inside)}}}"),
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
