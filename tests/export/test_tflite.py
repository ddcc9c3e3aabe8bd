"""From a model to a `.tflite` file by `fit`: one suffix, one step, the reference's outputs."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from compressor import Budget, Int8, fit
from compressor.export.micro.arena import plan
from compressor.export.micro.thrift import frugal
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.export.tflite import tflite_bytes, write
from compressor.network.file import container
from compressor.quantization.presets import TFLM
from compressor.reports.result import Result, load
from tests.helpers.int8_nets import examples, trained
from tests.helpers.tflm import outputs
from tests.zoo.micro import MICRO


def fitted(model: nn.Module, **settings: object) -> Result:
    x = examples(model, 16, seed=3)
    labels = torch.arange(16) % 3
    data = [(x[n::4], labels[n::4]) for n in range(4)]
    schedule = [Int8(preset=TFLM, **{"epochs": 0, **settings})]
    return fit(model, data, budget=Budget(bytes="1MB"), schedule=schedule, progress=False)


@cache
def plain() -> Result:
    """One of them, which is made once. Not to be changed."""
    return fitted(model())


def model(name: str = "plain") -> nn.Module:
    torch.manual_seed(1)
    return trained(MICRO[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "grouped", "time"])
def test_the_suffix_decides(name: str, tmp_path: Path) -> None:
    result = fitted(model(name))
    result.export(tmp_path / "model.TFLITE")
    content = (tmp_path / "model.TFLITE").read_bytes()
    program = frugal(result.network)
    assert content == written(program, plan(program))
    x = examples(result.model, 20, seed=8)
    with torch.no_grad():
        wanted = result.model(x)
    assert torch.equal(outputs(content, translated(result.network), x), wanted)
    assert not list(tmp_path.glob("*.tmp*"))


def test_a_file_of_ours_becomes_the_same_file(tmp_path: Path) -> None:
    result = plain()
    result.write(tmp_path / "small")
    again = load(tmp_path / "small")
    assert tflite_bytes(again) == tflite_bytes(result.network)


@pytest.mark.slow
def test_training_has_the_fixed_grids() -> None:
    torch.manual_seed(1)
    given = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 3),
    )  # fmt: skip
    given.example_input_array = torch.zeros(1, 1, 8, 8)
    result = fitted(trained(given), epochs=2, learned=True)
    content = tflite_bytes(result.network)
    x = examples(given, 20, seed=8)
    with torch.no_grad():
        assert torch.equal(outputs(content, translated(result.network), x), result.model(x))


def test_nothing_is_left_of_a_file_that_cannot_be(tmp_path: Path) -> None:
    given = nn.Sequential(nn.Conv2d(1, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(48, 3))
    given.example_input_array = torch.zeros(1, 1, 6, 6)
    result = fitted(given)
    path = tmp_path / "model.tflite"
    path.write_bytes(b"older")
    with pytest.raises(ValueError, match="'1' runs gelu"):
        result.export(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.tflite"]
    assert path.read_bytes() == b"older"


def test_a_front_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="takes features, not a waveform"):
        write(plain().network, tmp_path / "model.tflite", front_end=nn.Identity())
    assert not list(tmp_path.iterdir())


def test_the_extra_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"pip install 'compressor-nn\[tflite\]'"):
        plain().export(tmp_path / "model.tflite")


def test_the_container_is_smaller_and_holds_the_same() -> None:
    network = plain().network
    assert len(container.pack(network)) < len(tflite_bytes(network))
