"""Batches of data without training: BatchNorm statistics estimated anew, and the loss after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from compressor.errors import TrainingError
from compressor.inputs import randomness
from compressor.inputs.batches import Batch, tensors
from compressor.inputs.copies import private_copy
from compressor.inputs.evaluation import evaluating
from compressor.inputs.finite import is_finite, not_finite, on
from compressor.inputs.labels import all_ignored
from compressor.inputs.losses import Loss

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def recalibrate(model: nn.Module, batches: Iterable[Batch], loss: Loss) -> None:
    """Re-estimate BatchNorm's running statistics with equal weights over `batches`.

    Only the norms are in train mode meanwhile, so dropout is off. Momentum, modes and parameters
    are left as they were.

    Args:
        model: Changed in place (buffers alone).
        batches: Batches for `loss`; nothing happens when it is empty.
        loss: Called as ``loss(model, batch)`` for its forward pass.

    Raises:
        TrainingError: If a statistic or the loss is not finite; names the batch and the layer.
    """
    norms = [m for m in model.modules() if isinstance(m, _NORMS) and m.track_running_stats]
    flags = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    first = True
    try:
        model.eval()
        for number, batch in enumerate(batches, start=1):
            for norm in norms if first else ():
                norm.reset_running_stats()
                norm.momentum = None  # torch's way of asking for a cumulative average
                norm.training = True
            first = False
            with torch.no_grad():
                value = loss(model, batch)
            at = f"on batch {number} of data, of which BatchNorm's statistics are estimated"
            if not all(is_finite(t) for norm in norms for t in norm.buffers()):
                raise not_finite(model, on(loss, batch), "a mean or variance", at, batch)
            if not is_finite(value) and not all_ignored(batch):
                raise not_finite(model, on(loss, batch), "the loss", at, batch)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, flag in flags:
            module.training = flag


def calibration_loss(model: nn.Module, batches: Sequence[Batch], loss: Loss) -> float:
    """Mean loss in eval mode of a copy whose BatchNorm statistics are estimated on the batches.

    Args:
        model: Not changed.
        batches: At least one; they serve for both.
        loss: Called as ``loss(model, batch)``.

    Returns:
        The loss; infinity where it is not finite. No random state moves.

    Raises:
        TrainingError: If it is not finite for a batch that holds NaN or infinity itself.
    """
    scratch, number = private_copy(model), 0
    try:
        with randomness.preserved(), evaluating(scratch), torch.no_grad():
            recalibrate(scratch, batches, loss)
            mean = sum(float(loss(scratch, batch)) for batch in batches) / len(batches)
        if math.isfinite(mean):
            return mean
    except TrainingError:
        pass  # a candidate may be spoilt where others are not; data are spoilt for all
    for number, batch in enumerate(batches, start=1):
        run = on(loss, batch)
        if not all(map(is_finite, tensors(batch))) and not _finite(model, run):
            at = f"on batch {number} of data, on which candidates are compared"
            raise not_finite(model, run, "the loss", at, batch)
    return math.inf


def _finite(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> bool:
    with evaluating(model), torch.no_grad(), randomness.preserved():
        return is_finite(loss(model))
