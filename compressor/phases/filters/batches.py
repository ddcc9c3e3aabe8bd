"""Batches that are the same every time, and the loss that structures are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from compressor.inputs import randomness
from compressor.inputs.batches import Batch
from compressor.run.calibration import calibration_loss
from compressor.run.widths import agreed

if TYPE_CHECKING:
    from compressor.session import Session


def same_batches(session: Session, count: int) -> list[Batch]:
    """The first batches that the data yield after a fixed seed; no random state moves.

    Losses that are to be compared over a whole phase are measured on the same batches, where the
    loader draws from the global generators or its own.
    """
    source = getattr(session.data, "source", session.data)
    if session.data is None:
        return []
    with randomness.preserved(source):
        randomness.seed_everything(0)
        for generator in randomness.generators(source):
            generator.manual_seed(0)
        return list(islice(session.data, count))


def loss_of(session: Session, model: nn.Module, batches: Sequence[Batch]) -> float:
    """Calibration loss of a model, the same in every process."""
    value = np.array(calibration_loss(model, batches, session.loss))
    return float(agreed(session, value))
