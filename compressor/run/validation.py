"""What an epoch left, judged: accuracy on batches, or whatever the caller's function says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from compressor.errors import TrainingError
from compressor.inputs import finite
from compressor.inputs.batches import Batches, call
from compressor.inputs.evaluation import evaluating
from compressor.inputs.labels import IGNORED
from compressor.run.lesson import Judged
from compressor.wording import brief

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Validation = Batches | Callable[[nn.Module], float]
"""Batches (inputs, targets), on which accuracy is measured, or a function of the model."""


def valued(
    val: Validation,
    model: nn.Module,
    run: nn.Module,
    fabric: Fabric | None,
    judged: Judged | None = None,
) -> float:
    """What a validation says of a model, in eval mode; `run` is the same as it is called.

    `judged` makes of it what is validated in its place.

    Raises:
        TrainingError: If an output is not finite, or the caller's function returns no number.
    """
    with evaluating(model), torch.no_grad():
        if judged is not None:
            model = run = judged(model)
        if not isinstance(val, Batches):
            return number_of(val(model))
        return accuracy_of(run, val, model, fabric)


def accuracy_of(model: nn.Module, loader: Batches, bare: nn.Module, fabric: Fabric | None) -> float:
    """Share of the targets that a model, in eval mode, gets right; `bare` is the same, unwrapped.

    Raises:
        TrainingError: If an output is NaN or infinite; one that is minus infinity rules a class
            out.
    """
    right = total = 0
    for number, (inputs, targets) in enumerate(loader, start=1):
        logits = cast("Tensor", call(model, inputs))
        if bool((logits.isnan() | logits.isposinf()).any()):  # a class ruled out is -inf
            raise finite.not_finite(
                bare, finite.on(call, inputs), "an output", f"on batch {number} of val", inputs
            )
        guess = logits.argmax(1)
        wanted = targets.argmax(1) if targets.is_floating_point() else targets
        counts = wanted != IGNORED
        right += int((guess == wanted)[counts].sum())
        total += int(counts.sum())
    return mean_of_processes(fabric, right, total)


def mean_of_processes(fabric: Fabric | None, amount: float, count: float) -> float:
    """``amount / count``, both summed over all processes."""
    both = torch.tensor([amount, count], dtype=torch.float64)
    if fabric is not None and fabric.world_size > 1:
        both = fabric.all_reduce(fabric.to_device(both), reduce_op="sum")
    total, number = cast("Tensor", both).tolist()
    return total / number


def number_of(value: object, function: str = "val") -> float:
    """The value that the caller's function, an argument of this name, returned, as a number.

    Raises:
        TrainingError: If it is none.
    """
    try:
        if not isinstance(value, str):
            return float(cast("Any", value))
    except (TypeError, ValueError, RuntimeError):
        pass  # said below
    raise TrainingError(
        f"{function}(model) must return one number, higher is better, and it returns "
        f"{brief(value)}, a {type(value).__name__}: return a float such as the accuracy"
    )
