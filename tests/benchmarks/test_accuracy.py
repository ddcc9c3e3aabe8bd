"""Accuracy on a microcontroller, the whole script at a tiny size: caps are met, outputs equal."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.common.records import Records
from benchmarks.common.sound import KEYWORDS
from benchmarks.microcontroller import accuracy
from models import DSCNN

KEY = {"net": "DS-CNN", "seed": 0}


def clips(part: str) -> tuple[Tensor, Tensor]:
    """Noise whose level tells the class."""
    count = {"train": 48, "validation": 12, "test": 24}[part]
    labels = torch.arange(count) % KEYWORDS
    random = torch.Generator().manual_seed(count)
    x = torch.randn(count, 1, 40, 51, generator=random)
    return x + labels[:, None, None, None] / 4, labels


@pytest.mark.slow
def test_accuracy_at_a_tiny_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole script: caps that bind are met, and every output is the reference's."""
    pytest.importorskip("tflite_micro")
    build = partial(DSCNN, KEYWORDS, 24, 1, coefficients=40, frames=51)
    monkeypatch.setitem(accuracy.NETS, "DS-CNN", build)
    setting = accuracy.Setting(dense=1, tuned=1, rounded=1, clips=clips, folder=tmp_path)
    found = {way: accuracy.run("DS-CNN", way, 0, setting) for way in ("dense", "rounded", "16 KiB")}
    free, capped = found["rounded"], found["16 KiB"]
    assert free["ram"] > 16 * 1024 >= capped["ram"]
    assert capped["head"] == capped["ram"]
    assert capped["file"] <= accuracy.FLASH
    assert capped["params"] < free["params"] == found["dense"]["params"]
    for record in (free, capped):
        assert record["equal"] == 1
        assert record["test"] == record["reference"]
    monkeypatch.setattr(accuracy, "FLASH", 2_000)
    found["32 KiB"] = accuracy.run("DS-CNN", "32 KiB", 0, setting)
    assert "bytes <= 2,000 cannot be reached" in found["32 KiB"]["refused"]
    assert "of operators, tensors and their tables" in found["32 KiB"]["refused"]
    records = Records(
        tuple(
            {**KEY, "way": way, "seed": seed, **r} for way, r in found.items() for seed in range(3)
        )
    )
    shown = accuracy.report(records)
    assert f"{capped['file']:,} | {capped['ram']:,} | {capped['head']:,} | 100 % |" in shown
    assert "| DS-CNN | 32 KiB | refused: bytes <= 2,000" in shown
