"""Files that a fit cannot end in are refused before it begins."""

from __future__ import annotations

import importlib.util

import pytest
from torch import nn

from compressor import Budget, Tflite
from compressor.commands.exports import NEEDED, check_exports, file_name
from compressor.reports.result import FORMATS

INT8 = Budget(bytes="32KiB", file=Tflite())


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is, but for what a test takes away."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)


def test_every_format_has_its_packages() -> None:
    assert NEEDED.keys() == FORMATS.keys()
    assert file_name("a.tflite") == "a.tflite"


@pytest.mark.parametrize("budget", [INT8, Budget(ram="9KiB"), Budget(ram=9000, params=9)])
def test_a_tflite_needs_a_cap_that_rounds_and_inputs(budget: Budget) -> None:
    check_exports(["a.tflite", "a.onnx"], budget, data=True)
    check_exports(["a.onnx", "a.pte"], budget, data=False)
    with pytest.raises(ValueError, match="measured on inputs: give --inputs or --data"):
        check_exports(["a.onnx", "a.TFLITE"], budget, data=False)


@pytest.mark.parametrize("budget", [Budget(params=9), Budget(bytes=9000), Budget(macs="50%")])
def test_without_such_a_cap_a_tflite_is_refused(budget: Budget) -> None:
    check_exports(["a.onnx"], budget, data=True)
    with pytest.raises(ValueError, match=r"--budget bytes=\.\.\.,file=tflite, or one on ram"):
        check_exports(["a.tflite"], budget, data=True)


def test_all_that_stops_a_tflite_is_told_the_layer_first() -> None:
    model = nn.ModuleDict({"conv": nn.Conv1d(1, 4, 3), "heard": nn.GRU(4, 4)})
    check_exports(["a.onnx"], Budget(params=9), data=False, model=model)
    with pytest.raises(ValueError, match=r"'heard' is a GRU, .*convolutions over time") as caught:
        check_exports(["a.tflite"], INT8, data=True, model=model)
    assert "--data" not in str(caught.value)
    order = "'heard' is a GRU.*; and its scales are measured .*--data; and without a cap .*on ram$"
    with pytest.raises(ValueError, match=order):
        check_exports(["a.tflite"], Budget(params=9), data=False, model=model)


@pytest.mark.parametrize("suffix", NEEDED)
def test_a_package_that_is_missing_is_told(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match="not installed here: pip install 'compressor-nn"):
        check_exports([f"a{suffix}"], INT8, data=True)
