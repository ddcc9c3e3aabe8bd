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
from compressor.export.micro.refusals import SUBSTITUTES
from compressor.export.micro.translation import translated
from compressor.reports.boards.table import boards
from compressor.storage import SUMS
from tests.conftest import ROOT
from tests.helpers import tflm
from tests.helpers.micro_nets import integers
from tests.zoo.micro import chain

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
    ran, said = 0, ""
    for language, code in BLOCKS:
        if language == "python":
            exec(compile(code, "microcontroller.md", "exec"), scope)  # noqa: S102 - our own page
            ran += 1
            said += capsys.readouterr().out
        elif language == "console":
            commands = code.splitlines()
            assert all(line.startswith("$ python -m compressor ") for line in commands)
            for line in commands:
                words = line.split()[4:]
                assert main(words) == 0
                told = {"fits": "arduino-nano-33-ble  fits", "agree": ": all outputs equal;"}
                assert told[words[0]] in capsys.readouterr().out
        else:
            assert language == "cpp"
            assert code in (tmp_path / "firmware" / "main.cc").read_text("utf-8")
    assert ran == 7

    result = scope["result"]
    assert result.report.after.ram <= 4096  # type: ignore[attr-defined]
    assert (tmp_path / "model.tflite").stat().st_size <= 6 * 1024
    assert "of the .tflite" in said
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


WRITTEN: dict[str, tuple[tuple[int, ...], nn.Module]] = {
    "nn.Conv1d": ((4, 8), nn.Conv1d(4, 4, 3, 2, 2, 2, groups=2)),
    "nn.Conv2d": ((4, 6, 6), nn.Conv2d(4, 4, 3, 2, 2, 2, groups=2)),
    "nn.Linear": ((4,), nn.Linear(4, 3)),
    "nn.BatchNorm1d": ((4, 8), nn.BatchNorm1d(4)),
    "nn.BatchNorm2d": ((4, 6, 6), nn.BatchNorm2d(4)),
    "nn.ReLU": ((4, 6, 6), nn.ReLU()),
    "nn.ReLU6": ((4, 6, 6), nn.ReLU6()),
    "nn.Hardtanh": ((4, 6, 6), nn.Hardtanh()),
    "nn.Sigmoid": ((4, 6, 6), nn.Sigmoid()),
    "nn.SiLU": ((4, 6, 6), nn.SiLU()),
    "nn.MaxPool1d": ((4, 8), nn.MaxPool1d(2)),
    "nn.MaxPool2d": ((4, 6, 6), nn.MaxPool2d(2, 1)),
    "nn.AvgPool1d": ((4, 8), nn.AvgPool1d(3, 2, 1)),
    "nn.AvgPool2d": ((4, 6, 6), nn.AvgPool2d(3, 2, 1)),
    "nn.AdaptiveAvgPool1d": ((4, 8), nn.AdaptiveAvgPool1d(2)),
    "nn.AdaptiveAvgPool2d": ((4, 6, 6), nn.AdaptiveAvgPool2d((3, 2))),
    "nn.Flatten": ((4, 6, 6), nn.Flatten()),
}
"""What the page says is written, and the shape of what goes in."""


def test_the_list_of_what_is_written_names_these_modules() -> None:
    listed = PAGE.partition("## What is written")[2].partition("In float32")[0]
    assert {*re.findall(r"`(nn\.\w+)`", listed)} == {*WRITTEN}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_listed_is_written_in_integers(name: str) -> None:
    shape, layer = WRITTEN[name]
    before = {1: nn.Linear(4, 4), 2: nn.Conv1d(4, 4, 1), 3: nn.Conv2d(4, 4, 1)}[len(shape)]
    torch.manual_seed(0)
    program = translated(integers(chain(shape, before, layer)))
    assert not program.floating()


def test_the_table_of_what_is_refused_is_that_of_the_messages() -> None:
    rows = re.findall(
        r"^\| (`[\w, `]+`) \| (.+) \|$", PAGE.partition("this library does not")[2], re.MULTILINE
    )
    assert {" ".join(re.findall(r"\w+", names)): what for names, what in rows} == SUBSTITUTES


def test_boards_of_the_page_are_in_the_table() -> None:
    named = re.findall(r"--board ([\w-]+)", PAGE)
    assert len(named) == 2
    assert {*named} <= {board.name for board in boards()}
