"""Batches that are the same every time, on which structures are compared."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from compressor.inputs import randomness
from compressor.inputs.batches import Batch

if TYPE_CHECKING:
    from compressor.run.compression import Compression


def same_batches(session: Compression, count: int) -> list[Batch]:
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
