"""Losses: functions of a model and a batch, so that one form covers every way of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.loss import _Loss  # of all losses of torch

from compressor.inputs.batches import Batch, call
from compressor.inputs.settings import check_number
from compressor.wording import brief

Loss = Callable[[nn.Module, Batch], Tensor]
"""Called as ``loss(model, batch)``; returns a scalar."""


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Cross entropy of ``model(inputs)``, logits (batch, classes, ...), against the targets.

    A batch is a pair (inputs, targets); several inputs come as ``((x1, x2), targets)``.
    """
    inputs, targets = batch
    return functional.cross_entropy(call(model, inputs), targets)


@dataclass(frozen=True)
class Smoothed:
    """Cross entropy against targets of which every class gets a share.

    C. Szegedy et al., CVPR 2016 (arXiv:1512.00567), section 7.

    Attributes:
        amount: Share of the target that is spread evenly over all classes.
    """

    amount: float

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss for a model and a batch, as of `cross_entropy`."""
        inputs, targets = batch
        logits = call(model, inputs)
        return functional.cross_entropy(logits, targets, label_smoothing=self.amount)


@dataclass(frozen=True)
class Criterion:
    """A function of outputs and targets, such as ``torch.nn.MSELoss()``, as a loss.

    Attributes:
        function: Called as ``function(model(inputs), targets)`` on every batch, a pair (inputs,
            targets); several inputs come as ``((x1, x2), targets)``. Returns a scalar.
    """

    function: Callable[[Any, Any], Tensor]

    def __post_init__(self) -> None:
        """Raise a ValueError if it cannot be called, or is a class."""
        if isinstance(self.function, type) or not callable(self.function):
            raise ValueError(
                f"Criterion({brief(self.function)}): must be a function of outputs and targets, "
                "such as torch.nn.MSELoss()"
            )

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The function's value for a model and a batch."""
        inputs, targets = batch
        return self.function(call(model, inputs), targets)


def loss_of(given: object) -> Loss:
    """The loss that was meant: cross entropy for None, a `Criterion` for a loss of torch's own.

    What torch itself defines in `torch.nn` and `torch.nn.functional` takes outputs and targets;
    anything else is called as ``loss(model, batch)``, whatever its arguments are called.

    Raises:
        ValueError: If it cannot be called, or is a class.
    """
    if given is None:
        return cross_entropy
    if isinstance(given, type):
        raise ValueError(f"loss is the class {given.__name__}: make one, {given.__name__}(...)")
    if not callable(given):
        raise ValueError(
            f"loss={brief(given)} is a {type(given).__name__}: pass a function, called as "
            "loss(model, batch), that returns one number, or a loss such as torch.nn.MSELoss()"
        )
    function = cast("Callable[..., Tensor]", given)
    return Criterion(function) if _takes_outputs(function) else function


def _takes_outputs(given: object) -> bool:
    """True if something is a loss that torch defines, with settings or without."""
    if isinstance(given, partial):
        return _takes_outputs(cast("partial[Any]", given).func)
    if isinstance(given, _Loss):
        return type(given).__module__ == _Loss.__module__
    return getattr(given, "__module__", None) == functional.__name__


@dataclass(frozen=True)
class Distill:
    """Learn from the dense original's softened outputs beside the targets.

        loss = (1 - weight) * task + weight * T^2 * KL(teacher / T || student / T)

    Hinton et al. 2015 (arXiv:1503.02531), section 2; the factor T^2 keeps the gradients' size.

    Attributes:
        temperature: T, softens both distributions.
        weight: Share of the teacher's term, between 0 and 1.
    """

    temperature: float = 3.0
    weight: float = 0.7

    def __post_init__(self) -> None:
        """Raise a ValueError if one is no number, or out of range."""
        check_number("Distill", temperature=self.temperature, weight=self.weight)
        if self.temperature <= 0 or not 0 <= self.weight <= 1:
            raise ValueError(f"{self}: temperature must be positive and weight between 0 and 1")

    def of(self, task: Loss, teacher: Callable[..., Any]) -> Loss:
        """The task's loss with the teacher's term added.

        The teacher, which maps the same inputs to the logits to imitate, is shown exactly what the
        student was called with inside `task`, whatever augmentation or mixing happens there.
        """

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            calls: list[tuple[Any, ...]] = []

            def record(_: nn.Module, *call: Any) -> None:
                calls.append(call)  # positional arguments, keyword arguments, output

            hook = model.register_forward_hook(record, with_kwargs=True)
            try:
                value = task(model, batch)
            finally:
                hook.remove()
            terms = [self.divergence(out, teacher, *args, **kw) for args, kw, out in calls]
            if not terms:
                raise ValueError(
                    "Distill compares the model's outputs with the teacher's, and the loss never "
                    "called the model: call it as model(inputs), or leave distill out"
                )
            return (1 - self.weight) * value + self.weight * torch.stack(terms).mean()

        return loss

    def divergence(
        self, student: Tensor, teacher: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """``T^2 * KL`` between the softened logits (batch, classes, ...), mean over the batch."""
        if not isinstance(student, Tensor) or student.ndim < 2:
            raise ValueError(
                "Distill needs a model whose output is one tensor of logits (batch, classes, ...), "
                f"this one returns {type(student).__name__}: leave distill out"
            )
        with torch.no_grad():
            target = teacher(*args, **kwargs)
        soft = functional.log_softmax(student / self.temperature, dim=1)
        wanted = functional.log_softmax(target / self.temperature, dim=1)
        each = functional.kl_div(soft, wanted, reduction="none", log_target=True).sum(1)
        return each.mean() * self.temperature**2


def check_distill(owner: str, distill: object) -> None:
    """Check that the setting `distill` of a phase is what it should be.

    Raises:
        ValueError: If it is neither None nor a `Distill`.
    """
    if distill is not None and not isinstance(distill, Distill):
        raise ValueError(f"{owner}(distill={brief(distill)}): must be Distill(), or None")
