"""The blocks of docs/own-loop.md, run in order as they stand."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path

import pytest
import torch

from compressor import Result
from compressor.network import Network
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "own-loop.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightning", reason="pip install 'compressor-nn[lightning]'")
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.WARNING)
    torch.manual_seed(0)
    scope: dict[str, object] = {}
    integers: list[bool] = []
    with warnings.catch_warnings():
        for block in BLOCKS:
            if "lightning" in block or "tensorboard" in block:
                warnings.simplefilter("ignore")  # theirs
            exec(compile(block, "own-loop.md", "exec"), scope)  # noqa: S102 - our own document
            result = scope.pop("result", None)
            if isinstance(result, Result):
                integers.append(isinstance(result.model, Network))
    assert integers == [True, True, False, False, False, True]
    assert (tmp_path / "small.safetensors").stat().st_size <= 6000
    assert (tmp_path / "run" / "checkpoint.json").is_file()
    board = events.EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss/epoch")] == [1, 2]
    assert [event.step for event in board.Scalars("loss/step")] == list(range(1, 9))
