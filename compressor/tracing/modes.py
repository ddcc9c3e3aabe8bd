"""Behaviour of a model in training alone, which tracing in eval mode cannot see."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial, partialmethod
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from compressor.inputs.evaluation import evaluating
from compressor.inputs.functions import enclosed, foreign
from compressor.inputs.lines import told

_HARMLESS = ("dropout", "batch_norm")
"""Functions that do the same to every channel, whatever the mode."""


def looks_at_mode(model: nn.Module) -> bool:
    """True if any code outside PyTorch's own layers reads `training`.

    Looked at are the methods of every class, functions kept on a module, and whatever these
    decorate, nest, close over or call by name; not the methods of other objects.
    """
    waiting: list[object] = []
    for module in model.modules():
        mine = [cls for cls in type(module).__mro__ if not foreign(cls.__module__)]
        waiting += [value for cls in mine for value in vars(cls).values()]
        waiting += vars(module).values()
    seen: set[int] = set()
    while waiting:
        function = _function(waiting.pop())
        if function is None or id(function) in seen:
            continue
        seen.add(id(function))
        known = foreign(function.__globals__.get("__name__"))
        codes = [] if known else list(_codes(function.__code__))
        if any("training" in (*code.co_names, *code.co_consts) for code in codes):
            return True
        waiting += [vars(function).get("__wrapped__"), *enclosed(function)]  # what it decorates
        waiting += _called({name for code in codes for name in code.co_names}, function.__globals__)
    return False


def _function(value: object) -> FunctionType | None:
    """The plain function in a method, property, partial or the like; None for other objects."""
    while not isinstance(value, FunctionType):
        if isinstance(value, property):
            value = value.fget
        elif isinstance(value, cached_property | partial | partialmethod):
            value = cast("object", value.func)
        elif isinstance(value, classmethod | staticmethod | MethodType):
            value = cast("object", value.__func__)
        else:
            return None
    return value


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of all functions, lambdas and comprehensions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _called(names: set[str], scope: Mapping[str, object]) -> list[object]:
    """Look these names up in the function's module, and in the modules that it names."""
    found = [scope[name] for name in names if name in scope]
    modules = [m for m in found if isinstance(m, ModuleType) and not foreign(m.__name__)]
    return [*found, *(vars(m)[name] for m in modules for name in names if name in vars(m))]


def failure_in_training(model: nn.Module, inputs: Sequence[Tensor]) -> str | None:
    """Say what stops a forward pass in train mode, if anything; statistics of `model` may move."""
    try:
        _operations(model, inputs, training=True)
    except Exception as error:  # noqa: BLE001 - any failure of user code is the answer here
        return told(error)
    return None


def warn_of_other_code(model: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Warn when other operations run in training than in evaluation."""
    try:
        training = _operations(model, inputs, training=True)
    except Exception:  # noqa: BLE001 - a model for inference alone
        return
    if training != _operations(model, inputs, training=False):
        warnings.warn(
            f"{type(model).__name__} runs other operations in training than in evaluation. Only "
            "evaluation was compared with the masked original; that training runs was tried, what "
            "it computes was not. Name the layers that only training reads in keep=[...]",
            stacklevel=2,
        )


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        if not any(part in name for part in _HARMLESS):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def _operations(model: nn.Module, inputs: Sequence[Tensor], *, training: bool) -> list[str]:
    with evaluating(model), torch.no_grad(), _Recorder() as recorder:
        model.train(training)
        model(*inputs)
    return recorder.names
