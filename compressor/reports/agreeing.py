"""Do interpreters say what a network says, byte for byte?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compressor.export.firmware.asked import Inputs, vectors
from compressor.export.interpreters import (
    LITERT,
    MICRO,
    Agreement,
    Interpreter,
    Numbers,
    Rows,
    agreement,
)
from compressor.export.micro.program import Port, Program
from compressor.export.reading.contents import Contents
from compressor.export.tflite import made
from compressor.network import Network

DRAWS = 4
"""Inputs that are drawn where none are given and there is no network to have an example."""


@dataclass(frozen=True)
class Compared:
    """Answers of the installed interpreters against those that are expected.

    Attributes:
        expected: Whose answers are.
        examples: How many inputs there were.
        outputs: Single outputs of each.
        found: How each interpreter agrees; None for one that is not installed.
    """

    expected: str
    examples: int
    outputs: int
    found: tuple[tuple[Interpreter, Agreement | None], ...]

    @property
    def exact(self) -> bool:
        """Whether TensorFlow Lite Micro says what is expected, on all outputs."""
        return any(of is MICRO and said is not None and said.equal == 1 for of, said in self.found)


def compare(network: Network, inputs: Inputs | None = None) -> Compared:
    """Hold the file of a network against the network itself.

    Args:
        network: The integer reference, after `Int8(preset=presets.TFLM)`.
        inputs: Numbers as the network takes them; see `compressor.export.firmware.asked.vectors`.

    Raises:
        ImportError: If flatbuffers is missing.
        ValueError: If the network cannot be written, inputs are not its, or an interpreter refuses
            the file.
    """
    program, content = made(network)
    asked = vectors(network, program, inputs, most=math.inf)
    given = _rows(program, program.inputs, asked.inputs)
    wanted = _rows(program, program.outputs, asked.outputs)
    return _compared(content, given, wanted, "the reference", (MICRO, LITERT))


def compare_file(contents: Contents, content: bytes, inputs: Numbers | None = None) -> Compared:
    """Hold LiteRT against TensorFlow Lite Micro on anybody's file, of which nothing else is known.

    Args:
        contents: What the file holds.
        content: Its bytes.
        inputs: (inputs, ...) in the type and shape of the file's one input; None for draws over all
            bytes.

    Raises:
        ImportError: If tflite-micro is missing.
        ValueError: If inputs are not the file's, or an interpreter refuses it.
    """
    if not MICRO.installed:
        raise ImportError(f"{_missing(MICRO)}, with which others are compared")
    given = _of_file(contents, inputs)
    wanted = _answers(MICRO, content, given)
    return _compared(content, given, wanted, MICRO.name, (LITERT,))


def lines(compared: Compared) -> list[str]:
    """What there is to say, plain text."""
    count = f"{compared.examples:,} inputs, {compared.outputs:,} outputs each"
    said = [f"{count}, expected of {compared.expected}"]
    for of, found in compared.found:
        if found is None:
            said.append(f"  {of.name}: {_missing(of)}")
            continue
        share = "all" if found.equal == 1 else f"{100 * found.equal:.2f} % of"
        apart = "" if found.equal == 1 else f", others by {found.steps:g} at most"
        said.append(
            f"  {of.name} ({of.package} {of.version}): {share} outputs equal{apart}; the largest "
            f"is the same in {100 * found.classes:.1f} % of inputs"
        )
    if any(of is LITERT and found is not None and found.equal < 1 for of, found in compared.found):
        said.append("  LiteRT rounds once, microcontrollers round twice: that is its difference.")
    return said


def _rows(program: Program, ports: Sequence[Port], each: Sequence[Numbers]) -> Rows:
    """For each example what its ports hold, in the shapes of the file."""
    shapes = [program.tensors[port.tensor].shape for port in ports]
    return [
        [x.reshape(shape) for x, shape in zip(row, shapes, strict=True)]
        for row in zip(*each, strict=True)
    ]


def _of_file(contents: Contents, inputs: Numbers | None) -> Rows:
    taken = [contents.tensors[n] for n in contents.inputs]
    if len(taken) != 1:
        raise ValueError(f"{contents.name} has {len(taken)} inputs, and files of one are run")
    (tensor,) = taken
    if inputs is None:
        if tensor.type != "int8":
            raise ValueError(
                f"{contents.name} takes {tensor.type}, of which nothing is drawn: give --inputs"
            )
        random = np.random.default_rng(0)
        inputs = random.integers(-128, 128, (DRAWS, *tensor.shape[1:]), dtype=np.int8)
    same = inputs.dtype.name == tensor.type and inputs.shape[1:] == tensor.shape[1:]
    if not same or not len(inputs):
        shape = ", ".join(map(str, ("inputs", *tensor.shape[1:])))
        raise ValueError(
            f"{contents.name} takes {tensor.type} {tensor.shape}, and the inputs are "
            f"{inputs.dtype.name} {inputs.shape}: give ({shape}) of {tensor.type}"
        )
    return [[row.reshape(tensor.shape)] for row in inputs]


def _compared(
    content: bytes, given: Rows, wanted: Rows, expected: str, with_whom: Sequence[Interpreter]
) -> Compared:
    found = tuple(
        (of, agreement(_answers(of, content, given), wanted) if of.installed else None)
        for of in with_whom
    )
    return Compared(expected, len(given), sum(x.size for x in wanted[0]), found)


def _answers(of: Interpreter, content: bytes, given: Rows) -> list[list[Numbers]]:
    try:
        return of.run(content, given)
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{of.name} does not run the file: {said}") from error


def _missing(of: Interpreter) -> str:
    return f"{of.package} is not installed (pip install --pre {of.package})"
