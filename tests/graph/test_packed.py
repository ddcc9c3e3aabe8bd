"""A forward that packs sequences is refused with the line that gives them to a layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import rnn

from compressor.errors import TraceError
from compressor.graph.packed import packing
from compressor.tracing.tracer import trace


class Packs(nn.Module):
    """A GRU on sequences that are as long as they are not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        lengths = (x.abs().sum(-1) > 0).sum(1).cpu()
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        states, _ = self.gru(packed)
        return self.head(rnn.pad_packed_sequence(states, batch_first=True)[0])


def test_packed_sequences_are_refused_with_the_line() -> None:
    line = r"test_packed\.py:\d+, 'states, _ = self\.gru\(packed\)'"
    with pytest.raises(TraceError, match=f"Packs packs sequences .* at {line}.* padded tensor"):
        trace(Packs(), torch.randn(1, 5, 3))


def test_other_errors_say_nothing_of_packing() -> None:
    with pytest.raises(RuntimeError) as caught:
        nn.GRU(3, 4)(torch.ones(2, 1, 5))
    assert packing(caught.value) == ""
