"""What ADMM on filters does to its mask: it leaves a bad start, and comes to rest."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from compressor import Budget, FineTune, fit, measure
from compressor.importance import frobenius
from compressor.inputs.losses import cross_entropy
from compressor.phases.filters import FilterPruning
from compressor.reports.result import Result
from tests.helpers.tiny import CLASSES, loader, scenes

CHANNELS, LARGE, SMALL = 12, 3.0, 0.4


class Planted(nn.Module):
    """A stem of which every second channel is large and read by nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.down = nn.Conv2d(CHANNELS, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, CLASSES)
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.down(self.stem(x).relu()).relu().mean((2, 3)))


@cache
def planted() -> Planted:
    """Trained with the channels that nobody reads; then they grow and the others shrink."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Planted()
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(6):
            for batch in loader(512, generator=torch.Generator().manual_seed(1)):
                with torch.no_grad():
                    model.down.weight[:, ::2] = 0
                optimizer.zero_grad()
                cross_entropy(model, batch).backward()
                optimizer.step()
    with torch.no_grad():
        model.down.weight[:, ::2] = 0
        for tensor in (model.stem.weight, model.stem.bias):
            tensor[::2] *= LARGE
            tensor[1::2] *= SMALL
        model.down.weight[:, 1::2] /= SMALL
    return model


def batches() -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(scenes(256), batch_size=16, generator=torch.Generator().manual_seed(2))


@cache
def pruned() -> Result:
    """From a start that keeps the large channels: the largest norms."""
    caps = Budget(macs=int(0.55 * measure(planted()).macs))
    phase = FilterPruning("admm", allocator="uniform", importance=frobenius, epochs=4, batches=4)
    return fit(planted(), batches(), budget=caps, schedule=[FineTune(1, lr=1e-5), phase])


@pytest.mark.slow
def test_the_mask_leaves_a_start_that_keeps_what_nobody_reads() -> None:
    log = pruned().report.log
    assert log[-1].extra["calibration"] < 0.5 * log[1].extra["start"]
    stem = next(a for a in pruned().structure.graph.axes if "stem" in a.layers)
    kept = pruned().structure.keep[stem.units]
    assert kept[1::2].all()


@pytest.mark.slow
def test_the_mask_comes_to_rest_where_some_channels_matter_to_nobody() -> None:
    """The Fisher metric is zero there: pulled by it, they would take turns for ever."""
    extras = [epoch.extra for epoch in pruned().report.log[1:]]
    assert extras[0]["flips"] == 0  # of the last update of the epoch
    assert "flips" not in extras[-1]  # the stop rule was met
    assert extras[0]["primal"] < 0.05


def test_the_loss_of_the_start_stands_in_the_phases_own_entry() -> None:
    phase = FilterPruning("admm", allocator="uniform", epochs=2, batches=2)
    caps = Budget(macs=int(0.55 * measure(planted()).macs))
    log = fit(planted(), loader(32), budget=caps, schedule=[FineTune(1), phase]).report.log
    assert [epoch.phase for epoch in log] == ["FineTune", "FilterPruning", "FilterPruning"]
    assert not log[0].extra
    assert {"start", "calibration"} <= set(log[1].extra)
    assert "start" not in log[2].extra
