"""What a model does in training and not in evaluation, which tracing in eval mode cannot see."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from compressor.tracing.program import evaluating

_HARMLESS = ("dropout", "batch_norm")
"""Functions that do the same to every channel, whatever the mode."""


def looks_at_mode(model: nn.Module) -> bool:
    """Whether any class outside PyTorch's own layers reads `self.training`."""
    classes = {type(module) for module in model.modules()}
    mine = {c for cls in classes for c in cls.__mro__ if not c.__module__.startswith("torch.")}
    functions = [f for c in mine for f in vars(c).values() if inspect.isfunction(f)]
    return any("training" in f.__code__.co_names for f in functions)


def failure_in_training(model: nn.Module, inputs: Sequence[Tensor]) -> str | None:
    """What stops a forward pass in train mode, if anything; statistics of `model` may move."""
    try:
        _operations(model, inputs, training=True)
    except Exception as error:  # noqa: BLE001 - any failure of user code is the answer here
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
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
    """Notes the name of every torch function that is called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", str(func))
        if not any(part in name for part in _HARMLESS):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def _operations(model: nn.Module, inputs: Sequence[Tensor], *, training: bool) -> list[str]:
    with evaluating(model), torch.no_grad(), _Recorder() as recorder:
        model.train(training)
        model(*inputs)
    return recorder.names
