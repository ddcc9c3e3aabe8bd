"""Counting networks of single filters by the rules that fold normalisation."""

from __future__ import annotations

from dataclasses import replace

import torch

from compressor import Budget, FilterPruning, fit, measure
from compressor.rules import DCASE2022, folded
from models import BCResNetASC


def test_a_network_of_single_filters_is_folded() -> None:
    """A norm that also spreads its channels goes on spreading them, and is counted no more."""
    torch.manual_seed(0)
    model = BCResNetASC(8, 3, mels=32, frames=8)
    dense = measure(model)
    slim = fit(
        model,
        budget=Budget(params=0.6 * dense.params, macs=0.6 * dense.macs),
        schedule=[FilterPruning(allocator="threshold")],
    ).model.eval()
    x = torch.randn(4, 1, 32, 8)
    fused = folded(slim, x)
    torch.testing.assert_close(fused(x), slim(x), rtol=1e-3, atol=1e-4)
    before, after = (replace(DCASE2022, folded=f).count(slim, x[:1]) for f in (False, True))
    assert after.params < before.params  # of each pair only the shift is left, as a bias
    assert after.nonzero <= after.params
    assert measure(fused, x[:1]).macs == measure(slim, x[:1]).macs
