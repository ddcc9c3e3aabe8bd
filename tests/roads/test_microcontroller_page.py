"""docs/microcontroller.md, run from its first block to its last."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from compressor.__main__ import main
from compressor.export.firmware.folder import FIXED, files
from compressor.export.firmware.writing import made
from compressor.reports.boards.table import boards
from compressor.storage import SUMS
from tests.conftest import ROOT
from tests.helpers import tflm

PAGE = (ROOT / "docs" / "microcontroller.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def clips(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise, louder in the bands of its class."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (count,), generator=random)
    x = torch.randn(count, 1, 20, 25, generator=random)
    for clip, label in zip(x, labels.tolist(), strict=True):
        clip[:, 5 * label : 5 * label + 5] += 1.5
    return x, labels


def trained(model: nn.Module, loader: DataLoader[tuple[Tensor, ...]]) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(4):
        for x, y in loader:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
    return model


@pytest.mark.slow
def test_every_block_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tflite_micro")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(*clips(96, 1)), batch_size=16, shuffle=True)
    x, labels = clips(60, 2)
    scope: dict[str, object] = {"trained": trained, "loader": loader, "clips": x}
    ran = 0
    for language, code in BLOCKS:
        if language == "python":
            exec(compile(code, "microcontroller.md", "exec"), scope)  # noqa: S102 - our own page
            ran += 1
        elif language == "console":
            commands = code.splitlines()
            assert all(line.startswith("$ python -m compressor ") for line in commands)
            for line in commands:
                assert main(line.split()[4:]) == 0
            assert "arduino-nano-33-ble  fits" in capsys.readouterr().out
        else:
            assert language == "cpp"
            assert code in (tmp_path / "firmware" / "main.cc").read_text("utf-8")
    assert ran == 5

    result = scope["result"]
    assert result.report.after.ram <= 4096  # type: ignore[attr-defined]
    assert result.report.after.params <= 2000  # type: ignore[attr-defined]
    with torch.no_grad():
        right = (result.model(x).argmax(1) == labels).double().mean()  # type: ignore[attr-defined]
    assert right > 0.5  # it has learned: equality says something

    firmware = made(result.network, x[:8])  # type: ignore[attr-defined]
    folder = tmp_path / "firmware"
    found = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert {name: found[name] for name in found if name != SUMS} == files(firmware)
    assert (folder / "model.tflite").read_bytes() == (tmp_path / "model.tflite").read_bytes()
    runs = tflm.interpreter(firmware.content)
    shape = firmware.program.tensors[firmware.program.inputs[0].tensor].shape
    for given, wanted in zip(firmware.vectors.inputs[0], firmware.vectors.outputs[0], strict=True):
        (found,) = tflm.run(runs, [given.reshape(shape)])
        assert np.array_equal(found.reshape(-1), wanted)


def test_the_table_of_files_is_complete() -> None:
    named = set(
        re.findall(r"`(model[\w.]+|main\.cc|README\.md|SHA\w+)`", PAGE.partition("## 5.")[2])
    )
    assert {SUMS, "model.tflite", "README.md", "model_data.cc", "model_vectors.h", *FIXED} <= named


def test_boards_of_the_page_are_in_the_table() -> None:
    named = re.findall(r"--board ([\w-]+)", PAGE)
    assert len(named) == 2
    assert {*named} <= {board.name for board in boards()}
