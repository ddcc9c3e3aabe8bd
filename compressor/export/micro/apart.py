"""A program of the same form as another in which no two trained constants are equal.

A file holds equal contents once. Which weights, biases and scales are equal, training decides; what
it may come to is that none are. So here each operator has constants of its own, filled with a
number of its own, and shapes are told from lists of tensors, which they may equal as well.

Only lengths matter then, so that the same can be done for other widths: channels of results, and
lengths of constants, are given where they are not the program's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from compressor.export.micro.program import Operator, Program, Tensor

SHAPES = 1 << 20
"""Added to every size of a shape: lists of tensors have smaller numbers."""

OWN = 1 << 30
"""Added to the numbers that fill constants: they equal no shape that a file holds as content."""

Place = tuple[int, int]
"""An operator, by its position, and one of its inputs."""


@dataclass(frozen=True)
class Content:
    """A constant.

    Attributes:
        bytes: Of its content.
        scales: Number of its scales; 0 for none.
        shape: Its shape.
    """

    bytes: int
    scales: int
    shape: tuple[int, ...]

    @staticmethod
    def of(tensor: Tensor) -> Content:
        """That of a tensor as it is."""
        scales = 0 if tensor.steps is None else len(tensor.steps.scales)
        return Content(tensor.size, scales, tensor.shape)


def trained(tensor: Tensor) -> bool:
    """True for constants that training or data decide: weights, biases, gains; not for shapes."""
    whole = tensor.dtype == np.int32 and tensor.steps is None
    return tensor.data is not None and not whole


def constants(program: Program) -> dict[Place, Tensor]:
    """The trained constants of every operator."""
    return {
        (position, place): program.tensors[number]
        for position, operator in enumerate(program.operators)
        for place, number in enumerate(operator.inputs)
        if trained(program.tensors[number])
    }


def told_apart(
    program: Program,
    given: Collection[str] = (),
    channels: Mapping[int, int] = MappingProxyType({}),
    contents: Mapping[Place, Content] = MappingProxyType({}),
) -> Program:
    """The program with constants of its own for each operator; for counting bytes alone.

    Args:
        program: Any.
        given: Names of results whose weights no training changes: those of means.
        channels: Other numbers of channels, by the number of the result that has them.
        contents: Other constants.
    """
    tensors = [_placed(tensor, channels.get(n)) for n, tensor in enumerate(program.tensors)]
    inputs = [list(operator.inputs) for operator in program.operators]
    for (position, place), tensor in constants(program).items():
        result = program.operators[position].outputs[0]
        same = program.tensors[result].name in given
        content = contents.get((position, place), Content.of(tensor))
        inputs[position][place] = len(tensors)
        tensors.append(_own(tensor, len(tensors), content, same=same))
    pairs = zip(program.operators, inputs, strict=True)
    operators = tuple(replace(operator, inputs=tuple(numbers)) for operator, numbers in pairs)
    return _read(replace(program, tensors=tuple(tensors), operators=operators))


def _placed(tensor: Tensor, channels: int | None) -> Tensor:
    """With a shape that is no list of tensors."""
    shape = [*tensor.shape]
    if channels is not None and shape:
        shape[-1] = channels
    return replace(tensor, shape=tuple(SHAPES + size for size in shape))


def _own(tensor: Tensor, number: int, content: Content, *, same: bool) -> Tensor:
    """A constant of one operator alone; `same` leaves what it is filled with as it is."""
    filled = (OWN + number).to_bytes(4, "little")
    if same and tensor.data is not None:
        filled = tensor.data.tobytes()[:1] * content.bytes
    data = np.frombuffer(filled[: content.bytes].ljust(content.bytes, b"\0"), dtype=np.uint8)
    steps = tensor.steps
    if steps is not None:
        scales = np.full(content.scales, -1.0 - number, dtype=np.float32)  # no scale is negative
        steps = replace(steps, scales=scales)
    shape = tuple(SHAPES + size for size in content.shape)
    return Tensor(shape, tensor.dtype, steps, data, tensor.name)


def _read(program: Program) -> Program:
    """Without constants that no operator reads."""
    read = {number for operator in program.operators for number in operator.inputs}
    kept = [n for n, t in enumerate(program.tensors) if t.data is None or n in read]
    new = {old: number for number, old in enumerate(kept)}
    operators = tuple(
        Operator(o.operation, _renamed(o.inputs, new), _renamed(o.outputs, new), o.layer)
        for o in program.operators
    )
    inputs, outputs = (
        tuple(replace(port, tensor=new[port.tensor]) for port in ports)
        for ports in (program.inputs, program.outputs)
    )
    return Program(tuple(program.tensors[n] for n in kept), operators, inputs, outputs)


def _renamed(numbers: Sequence[int], new: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(new[n] for n in numbers)
