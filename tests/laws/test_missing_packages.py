"""A package that is not installed is named with the command that brings it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
import torch

from recipes import NEEDED


@pytest.mark.parametrize(
    ("package", "call", "match"),
    [
        (
            "ray",
            "recipes.sweeps.workers:OnRay",
            r"need Ray .*pip install -e '.\[sweep\]'.*--serial",
        ),
        (
            "ray",
            "compressor.reports.sweeps.workers:OnRay",
            r"need Ray .*pip install 'compressor-nn\[sweep\]'.*ray=None",
        ),
        ("optuna", "recipes.sweeps.search:Study", r"Optuna .*pip install -e '.\[sweep\]'"),
        (
            "onnxruntime",
            "recipes.judging.system:scores_of_onnx",
            r"ONNX Runtime .*pip install -e '.\[onnx",
        ),
        ("onnxruntime", "compressor.export.onnx:_runtime", r"pip install 'compressor-nn\[onnx\]'"),
        ("onnx", "compressor.export.onnx:_onnx", r"pip install 'compressor-nn\[onnx\]'"),
        ("onnxscript", "compressor.export.onnx:_onnx", r"pip install 'compressor-nn\[onnx\]'"),
        (
            "executorch",
            "compressor.export.executorch:_executorch",
            r"pip install 'compressor-nn\[ex",
        ),
        (
            "torchao",
            "compressor.export.xnnpack:decomposed",
            r"pip install 'compressor-nn\[ex",
        ),
        ("cvxpy", "compressor.allocation.milp:_cvxpy", r"pip install \"compressor-nn\[exact\]\""),
        (
            "flatbuffers",
            "compressor.export.micro.flatbuffer:_flatbuffers",
            r"pip install 'compressor-nn\[tflite\]'",
        ),
        ("matplotlib", "compressor.reports.figures:blank", r"'compressor-nn\[plot\]'"),
        ("lightning_fabric", "recipes.running.command:launched", r"pip install -e '.\[fabric\]'"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, package: str, call: str, match: str
) -> None:
    module, _, name = call.partition(":")
    function = getattr(importlib.import_module(module), name)
    arguments: dict[str, tuple[Any, ...]] = {"OnRay": (None,), "Study": ([], 3)}
    arguments["scores_of_onnx"] = (None,)
    arguments |= {"launched": (torch.device("cpu"), 2, "32"), "blank": (1.0, 1.0)}
    for loaded in [known for known in sys.modules if known.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=match):
        function(*arguments.get(name, ()))


@pytest.mark.parametrize("package", NEEDED)
def test_recipes_name_their_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    whole = importlib.import_module("recipes")
    with pytest.raises(ImportError, match=rf"need {package}: pip install -e '.\[recipes\]'"):
        importlib.reload(whole)
