"""Residual Normalization both ways, on noise: records are whole, and the page has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.common.records import SEEDS, Records
from benchmarks.microcontroller import norms
from benchmarks.microcontroller.forward import devices, own, prepared


def noise(part: str) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed({"train": 0, "test": 1}[part])
    x = torch.randn(48, 1, 32, 51, generator=random)
    return x, torch.randint(12, (48,), generator=random)


@pytest.mark.slow
def test_records_are_whole_and_the_device_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tflite_micro")
    monkeypatch.setattr(norms, "keywords", lambda parts: (None, noise(parts[0])[1]))
    setting = norms.Setting(dense=1, clips=noise, folder=tmp_path)
    ways = ("whole numbers, calibrated alone", "float32, calibrated alone")
    found = {way: norms.run(way, 0, setting) for way in ways}
    whole, floating = (found[way] for way in ways)
    assert json.loads(json.dumps(found)) == found
    assert (whole["equal"], whole["steps"]) == (1, 0)
    assert whole["head"] * 2 < floating["head"]
    assert whole["dense"] == floating["dense"]
    records = tuple({"way": way, "seed": s, **found[way]} for way in ways for s in SEEDS)
    shown = norms.report(Records(records))
    assert f"| 100 % | {whole['file']:,} | {whole['head']:,} |" in shown

    monkeypatch.setattr("benchmarks.microcontroller.forward.FULL", setting)
    x, _ = noise("train")
    network = prepared(0, x)
    with torch.no_grad():
        assert not torch.equal(own(network, x), devices(network, x))
