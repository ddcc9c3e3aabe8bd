"""Files run by TensorFlow Lite Micro's own interpreter, the oracle of `.tflite` exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.export.micro.program import Program

ARENA = 1 << 24


def interpreter(content: bytes) -> Any:
    """One with a file in it; skips where the package is absent."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    return runtime.Interpreter.from_bytes(content, arena_size=ARENA)


def run(runs: Any, inputs: Sequence[NDArray[Any]], count: int = 1) -> list[NDArray[Any]]:
    """So many outputs of a file for the integers of one example."""
    for number, x in enumerate(inputs):
        runs.set_input(x, number)
    runs.invoke()
    return [runs.get_output(n).copy() for n in range(count)]


def outputs(content: bytes, program: Program, x: Tensor) -> Tensor:
    """What a file of one input and output says of a batch, in the network's numbers and shape."""
    runs = interpreter(content)
    found: list[NDArray[Any]] = []
    for example in x:
        given = program.encoded([example[None].numpy()])
        found += program.decoded(run(runs, given))
    return torch.from_numpy(np.concatenate(found))
