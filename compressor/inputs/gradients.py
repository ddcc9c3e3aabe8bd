"""Gradients of a loss on a batch, and the loss itself held to be a number that has some."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from compressor.errors import TrainingError
from compressor.inputs import finite
from compressor.inputs.batches import Batch, split
from compressor.inputs.evaluation import evaluating
from compressor.inputs.labels import all_ignored
from compressor.inputs.losses import Loss, cross_entropy


def micro_batches(batches: Iterable[Batch], loss: Loss, clips: int) -> Iterator[tuple[Batch, str]]:
    """Batches in parts of `clips` examples, and where each came from, for a message."""
    for number, batch in enumerate(batches, start=1):
        for part in split(batch, clips):
            if not (loss is cross_entropy and all_ignored(part)):  # a mean over no label
                yield part, f"on batch {number}"


def gradient_of(model: nn.Module, batch: Batch, loss: Loss, where: str) -> dict[str, Tensor]:
    """Gradient of the loss on a batch by parameter name, in eval mode, of frozen parameters too.

    For messages `where` says when in a run it is taken.

    Raises:
        TrainingError: If the loss or a gradient is not finite, or there is no gradient.
    """
    named = {n: p for n, p in model.named_parameters() if p.is_floating_point()}
    flags = {name: p.requires_grad for name, p in named.items()}
    try:
        for p in named.values():
            p.requires_grad_(True)  # noqa: FBT003 - torch's own name for it
        with evaluating(model), torch.enable_grad():
            value = loss(model, batch)
            check_value(value, where, partial(finite.where, model, finite.on(loss, batch), batch))
            grads = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    finally:
        for name, p in named.items():
            p.requires_grad_(flags[name])
    found: list[Tensor | None] = list(grads)  # None where the loss does not depend on it
    known = {n: g for n, g in zip(named, found, strict=True) if g is not None}
    if wrong := [name for name, gradient in known.items() if not finite.is_finite(gradient)]:
        raise TrainingError(
            f"the loss is {float(value.detach()):.4g} {where}, and its gradient for {wrong[0]!r} "
            "is NaN or infinite: a root or logarithm of zero, a division by zero or an overflow on "
            "the way back. Add a small number there, or look at the data"
        )
    return known


def check_value(value: Tensor, where: str, source: Callable[[], str] | None = None) -> float:
    """The loss `value` as a number, or a TrainingError if it is not finite or has no gradient.

    For the message `where` says when in a run it came up, and `source` which layer a number that is
    not finite comes from.
    """
    number = float(value.detach())
    if not math.isfinite(number):
        why = f": {source()}" if source else ""
        raise TrainingError(
            f"the loss is {number} {where}{why}. Look for NaN or infinity in the data, for labels "
            "that are all ignored and for weights that are not finite; in training, lower the "
            "learning rate. A checkpoint, if there is one, holds the last whole epoch and is good"
        )
    if not value.requires_grad:
        raise TrainingError(
            f"the loss has no gradient {where}: it does not depend on the model's parameters, or "
            "detach(), item(), argmax() or torch.no_grad() cut it off"
        )
    return number
