"""Interpreters of `.tflite` files on this computer, each an optional package.

TensorFlow Lite Micro's own computes as devices do. LiteRT's, which phones and most tutorials use,
rounds once where microcontrollers round twice: its answers are some steps away, and no proof.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.export.reading.contents import unpack

Numbers = NDArray[Any]

Rows = Sequence[Sequence[Numbers]]
"""For each example its inputs, or outputs, as the file has them."""

ARENA = 1 << 24
"""Bytes that TensorFlow Lite Micro is given, far more than any board has."""


@dataclass(frozen=True)
class Interpreter:
    """A program that runs files.

    Attributes:
        name: For people.
        package: That `pip install` knows.
        module: By which it is imported.
        run: Answers of a file, as bytes, to examples.
    """

    name: str
    package: str
    module: str
    run: Callable[[bytes, Rows], list[list[Numbers]]]

    @property
    def installed(self) -> bool:
        """Whether it is there."""
        return find_spec(self.module.partition(".")[0]) is not None

    @property
    def version(self) -> str:
        """Of the package."""
        return version(self.package)


def _micro(content: bytes, examples: Rows) -> list[list[Numbers]]:
    module = import_module(MICRO.module)
    runs: Any = module.Interpreter.from_bytes(content, arena_size=ARENA)
    found: list[list[Numbers]] = []
    for example in examples:
        for number, x in enumerate(example):
            runs.set_input(x, number)
        runs.invoke()
        found.append([runs.get_output(n).copy() for n in range(_outputs(content))])
    return found


def _litert(content: bytes, examples: Rows) -> list[list[Numbers]]:
    module = import_module(LITERT.module)
    runs: Any = module.Interpreter(model_content=content, num_threads=1)
    runs.allocate_tensors()
    inputs, outputs = runs.get_input_details(), runs.get_output_details()
    found: list[list[Numbers]] = []
    for example in examples:
        for detail, x in zip(inputs, example, strict=True):
            runs.set_tensor(detail["index"], x)
        runs.invoke()
        found.append([runs.get_tensor(detail["index"]).copy() for detail in outputs])
    return found


def _outputs(content: bytes) -> int:
    return len(unpack(content).outputs)


MICRO = Interpreter(
    "TensorFlow Lite Micro", "tflite-micro", "tflite_micro.python.tflite_micro.runtime", _micro
)

LITERT = Interpreter("LiteRT", "ai-edge-litert", "ai_edge_litert.interpreter", _litert)


@dataclass(frozen=True)
class Agreement:
    """How answers agree with those that are expected.

    Attributes:
        equal: Share of single outputs that are.
        steps: The most by which an output differs.
        classes: Share of examples whose largest output is the same one, of all outputs together.
    """

    equal: float
    steps: float
    classes: float


def agreement(found: Rows, wanted: Rows) -> Agreement:
    """How answers agree, example by example."""
    one, other = (
        np.stack([np.concatenate([x.reshape(-1) for x in row]) for row in rows]).astype(np.float64)
        for rows in (found, wanted)
    )
    return Agreement(
        float((one == other).mean()),
        float(np.abs(one - other).max()),
        float((one.argmax(1) == other.argmax(1)).mean()),
    )
