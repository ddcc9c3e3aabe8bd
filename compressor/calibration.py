"""Batches of data without training: BatchNorm statistics estimated anew, and the loss after it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from compressor import randomness
from compressor.batches import Batch
from compressor.copies import private_copy
from compressor.losses import Loss
from compressor.tracing.program import evaluating

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def recalibrate(model: nn.Module, batches: Iterable[Batch], loss: Loss) -> None:
    """Re-estimate BatchNorm's running statistics with equal weights over `batches`.

    Only the norms are in train mode meanwhile, so dropout is off. Momentum, modes and parameters
    are left as they were.

    Args:
        model: Changed in place (buffers alone).
        batches: Batches for `loss`; nothing happens when it is empty.
        loss: Called as ``loss(model, batch)`` for its forward pass.
    """
    norms = [m for m in model.modules() if isinstance(m, _NORMS) and m.track_running_stats]
    flags = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    first = True
    try:
        model.eval()
        for batch in batches:
            for norm in norms if first else ():
                norm.reset_running_stats()
                norm.momentum = None  # torch's way of asking for a cumulative average
                norm.training = True
            first = False
            with torch.no_grad():
                loss(model, batch)
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
    """
    scratch = private_copy(model)
    with randomness.preserved(), evaluating(scratch), torch.no_grad():
        recalibrate(scratch, batches, loss)
        mean = sum(float(loss(scratch, batch)) for batch in batches) / len(batches)
    return mean if math.isfinite(mean) else math.inf
