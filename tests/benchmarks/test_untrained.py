"""The table without training: shares of the dense accuracy, and reasons where there is none."""

from __future__ import annotations

import torch

from benchmarks.accuracy.untrained import recalibrated, refusals, row, shares
from benchmarks.common.records import Record, Records
from models import TCResNet

DENSE = Records(({"net": "TC-ResNet", "way": "dense", "seed": 0, "validation": 0.8, "test": 0.5},))


def record(seed: int, validation: float) -> Record:
    key = {"net": "TC-ResNet", "budget": "mild", "way": "fit", "seed": seed}
    return {**key, "validation": validation, "test": 0.25, "CPU seconds": 2.0}


def test_shares_are_of_the_dense_network() -> None:
    found = Records((record(0, 0.4), record(1, 0.6)))
    assert shares(found, DENSE, "validation", net="TC-ResNet", way="fit") == [50, 75]
    cells = row("TC-ResNet", "fit", found, DENSE)
    assert cells == ["TC-ResNet: fit", "62.5 (12.5)", "50.0 (0.0)", "-", "-", "2.0"]


def test_a_refusal_is_told_once() -> None:
    key = {"net": "TC-ResNet", "budget": "deep", "way": "other"}
    none = [{**key, "seed": seed, "refused": "too deep", "CPU seconds": 1.0} for seed in (0, 1)]
    found = Records(tuple(none))
    assert row("TC-ResNet", "other", found, DENSE)[3:5] == ["none", "none"]
    assert refusals(found) == "- TC-ResNet, deep, other: too deep"


def test_statistics_are_those_of_the_clips() -> None:
    torch.manual_seed(0)
    model = TCResNet(5, (4, 6), mels=8, frames=20).train()
    clips = [torch.randn(8, 1, 8, 20) for _ in range(2)]
    conv, norm, _ = model.stem
    seen = torch.cat([conv(x.flatten(1, 2)) for x in clips]).mean(dim=(0, 2))
    assert not recalibrated(model, clips).training
    torch.testing.assert_close(norm.running_mean, seen)
