"""Files for runtimes that a fit is to end in: refused before anything is trained."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from torch import nn

from compressor.budget import Budget
from compressor.reports.result import FORMATS
from compressor.run.tflite_size import Tflite

NEEDED = {
    ".onnx": ("onnx", ("onnx", "onnxscript")),
    ".pte": ("executorch", ("executorch",)),
    ".tflite": ("tflite", ("flatbuffers",)),
}
"""Extra of this package, and the packages in it that write a file, by its suffix."""


def file_name(name: str) -> str:
    """The name of a file to write in a folder.

    Raises:
        ValueError: If no format has its suffix, or it names a folder.
    """
    if Path(name).suffix.lower() not in FORMATS or Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a file on {', '.join(FORMATS)}")
    return name


def check_exports(
    names: Iterable[str], budget: Budget, *, data: bool, model: nn.Module | None = None
) -> None:
    """Refuse files that a fit of the default schedule cannot end in; `data` where it has inputs.

    What stops a ``.tflite`` is told at once, what `model` cannot be written with first.

    Raises:
        ImportError: If what writes a file is not installed.
        ValueError: If the network stays in floating point, or is rounded for another runtime, and
            the file is a ``.tflite``.
    """
    for name in names:
        suffix = Path(name).suffix.lower()
        extra, packages = NEEDED[suffix]
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        if missing:
            raise ImportError(
                f"--export {name} needs {' and '.join(missing)}, not installed here: pip install "
                f"'compressor-nn[{extra}]'"
            )
        if suffix == ".tflite":
            _check_tflite(name, budget, model, data=data)


def _check_tflite(name: str, budget: Budget, model: nn.Module | None, *, data: bool) -> None:
    reasons: list[str] = []
    layers = () if model is None else model.named_modules()
    for layer, module in layers:
        if isinstance(module, nn.RNNBase):
            reasons.append(
                f"{layer or 'the model'!r} is a {type(module).__name__}, which this library does "
                "not write so: use convolutions over time in its place"
            )
    if not data:
        reasons.append("its scales are measured on inputs: give --inputs or --data")
    if budget.ram is None and not isinstance(budget.file, Tflite):
        reasons.append(
            "without a cap on that file the network is not rounded so: add one, --budget "
            "bytes=...,file=tflite, or one on ram"
        )
    if reasons:
        raise ValueError(
            f"--export {name}: a .tflite holds integers of 8 bits, and {'; and '.join(reasons)}"
        )
