"""What is checked about data before any training, and about labels while training."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from compressor import randomness
from compressor.batches import Batch, Batches, call, tensors
from compressor.errors import TrainingError
from compressor.losses import Loss
from compressor.tracing.program import evaluating

IGNORED = -100
"""Label that `torch.nn.functional.cross_entropy` leaves out."""


def first_batch(data: Batches, name: str = "data") -> Batch:
    """The first batch of a loader, called `name` in errors; no random state moves.

    Raises:
        ValueError: If the loader is empty.
    """
    with randomness.preserved(data.source):
        for batch in data:
            return batch
    raise ValueError(
        f"{name} is empty: the {type(data.source).__name__} yields no batch. Check the data set's "
        "path and length, and drop_last=True with fewer examples than one batch"
    )


def check_classifier(model: nn.Module, batch: Batch) -> int:
    """Check a batch for cross entropy against a model; returns the number of classes.

    Raises:
        ValueError: If the batch is no pair (inputs, targets), its inputs have another data type or
            device than the model, the model does not run on them, or the targets do not fit.
    """
    inputs, targets = _pair(batch)
    _check_place(model, inputs)
    with evaluating(model), torch.no_grad():
        try:
            logits = call(model, inputs)
        except Exception as error:
            raise ValueError(
                f"{type(model).__name__} does not run on the first batch, inputs "
                f"{_shapes(inputs)}: {error}. Batches must look like the example input"
            ) from error
    if not isinstance(logits, Tensor) or logits.ndim < 2:
        raise ValueError(
            "cross entropy needs logits (batch, classes, ...) and the model returns "
            f"{_kind(logits)}: pass loss=, a function of the model and the batch"
        )
    _check_targets(logits, targets)
    return logits.shape[1]


def check_loss(model: nn.Module, batch: Batch, loss: Loss) -> None:
    """Check that a loss of the user's own works on a batch.

    Raises:
        ValueError: If it fails, or returns anything but one number.
    """
    with evaluating(model), torch.no_grad(), randomness.preserved():
        try:
            value: object = loss(model, batch)
        except Exception as error:
            raise ValueError(
                f"loss(model, batch) fails on the first batch, tensors {_shapes(batch)}: {error}"
            ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise ValueError(
            f"loss(model, batch) must return a tensor with one number, it returns {_kind(value)}: "
            "take the mean over the batch"
        )


def check_labels(targets: Tensor, classes: int, error: type[Exception] = TrainingError) -> None:
    """Check that integer labels lie in 0 ... classes - 1 (or are `IGNORED`).

    Raises:
        Exception: `error`, if one does not.
    """
    if targets.is_floating_point() or not targets.numel():
        return
    wrong = targets[((targets < 0) | (targets >= classes)) & (targets != IGNORED)]
    if wrong.numel():
        raise error(
            f"label {int(wrong.reshape(-1)[0])} is out of range: {wrong.numel()} of "
            f"{targets.numel()} labels in a batch are not in 0 ... {classes - 1}, and the model "
            f"has {classes} outputs. Number the classes from 0, or build the model with more"
        )


def _pair(batch: Batch) -> tuple[Any, Tensor]:
    pair = cast("list[Any]", batch) if isinstance(batch, (tuple, list)) else []
    if len(pair) != 2 or not isinstance(pair[1], Tensor) or not list(tensors(pair[0])):
        raise ValueError(
            f"a batch must be a pair (inputs, targets) of tensors, data yields {_kind(batch)}; "
            "several inputs go into a tuple, ((x1, x2), targets). For anything else pass loss="
        )
    return pair[0], pair[1]


def _check_place(model: nn.Module, inputs: Any) -> None:
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    if weight is None:
        return
    for x in tensors(inputs):
        if x.device != weight.device:
            raise ValueError(
                f"the batches are on {x.device} and the model is on {weight.device}: pass "
                "fabric=lightning_fabric.Fabric(), which moves both, or move one of them"
            )
        if x.is_floating_point() and x.dtype != weight.dtype:
            raise ValueError(
                f"the batches are {x.dtype} and the model is {weight.dtype}: convert one of them, "
                f"for instance with model.to({x.dtype}); for mixed precision pass "
                "fabric=lightning_fabric.Fabric(precision='bf16-mixed')"
            )


def _check_targets(logits: Tensor, targets: Tensor) -> None:
    classes = logits.shape[1]
    if targets.is_floating_point() and targets.shape == logits.shape:
        return  # probabilities
    wanted = (logits.shape[0], *logits.shape[2:])
    if targets.dtype != torch.long or tuple(targets.shape) != wanted:
        raise ValueError(
            f"targets are {targets.dtype} {tuple(targets.shape)}; for logits "
            f"{tuple(logits.shape)} cross entropy needs torch.int64 {wanted}, or probabilities "
            "of the logits' shape"
        )
    check_labels(targets, classes, ValueError)


def _shapes(batch: Batch) -> str:
    return ", ".join(f"{tuple(t.shape)} {t.dtype}" for t in tensors(batch)) or "none"


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, (tuple, list)):
        items = cast("list[object]", value)
        return f"a {type(items).__name__} of {len(items)}"
    return f"a {type(value).__name__}"
