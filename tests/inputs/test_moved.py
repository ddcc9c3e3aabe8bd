"""Modules under the names that they had before."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import compressor
from compressor.inputs.moved import new_names


@pytest.mark.parametrize(("old", "new"), new_names().items())
def test_every_module_is_there_under_both_names(old: str, new: tuple[str, ...]) -> None:
    assert importlib.import_module(old) is not None
    assert all(importlib.import_module(name) for name in new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("compressor.container.pack", "compressor.network.file.container"),
        ("compressor.training.all_tensors", "compressor.inputs.tensors"),
        ("compressor.measure.Example", "compressor.inputs.example"),
        ("compressor.rows.masks.fisher", "compressor.phases.frequency.masks"),
        ("compressor.graph.Axis", "compressor.graph.graph"),
        ("compressor.surgery.cut", "compressor.surgery.cutting"),
        ("compressor.quantization.integer.IntConv", "compressor.network.integer"),
    ],
)
def test_what_it_held_is_given_with_a_warning_that_says_where_it_is(old: str, new: str) -> None:
    module, _, name = old.rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"{name} is in {new}"):
        found = getattr(importlib.import_module(module), name)
    assert found is getattr(importlib.import_module(new), name)


def test_public_functions_are_no_modules() -> None:
    for name in ("fit", "trace", "measure"):
        importlib.import_module(f"compressor.{name}")
        assert callable(getattr(compressor, name)), name


def test_what_never_was_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match=r"compressor\.container.*nothing"):
        _ = importlib.import_module("compressor.container").nothing
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("compressor.never")


def test_a_module_is_found_by_either_form_of_import() -> None:
    code = (
        "import compressor.onnx_export, compressor\n"
        "from compressor import container\n"
        "from compressor.onnx_export import write\n"
        "assert compressor.onnx_export.write is write and container.pack\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)  # noqa: S603
