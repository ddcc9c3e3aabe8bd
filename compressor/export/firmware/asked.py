"""Test vectors: inputs, and the bytes that the integer reference says a device must answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import cast

import numpy as np
import torch
from torch import Tensor

from compressor.export.micro.program import Numbers, Program
from compressor.inputs.tensors import device_of, leaves
from compressor.network import Network
from compressor.wording import brief

DRAWS = 3
"""Inputs that are drawn beside the example where none are given."""

MOST = 1000
"""Vectors that are written at most: a device has to hold them all."""

Inputs = Tensor | Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Vectors:
    """Inputs and outputs as a device has them in memory.

    Attributes:
        inputs: Of each input of the network, int8 (vectors, bytes).
        outputs: Of each output likewise.
    """

    inputs: tuple[Numbers, ...]
    outputs: tuple[Numbers, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.inputs[0])


def vectors(
    network: Network, program: Program, inputs: Inputs | None = None, most: float = MOST
) -> Vectors:
    """What a device is asked, and what it must answer.

    Args:
        network: The integer reference.
        program: What is written of it.
        inputs: Numbers as the network takes them, (vectors, ...); a sequence of such tensors for
            several inputs. None for the network's example and three draws, uniform over the bytes
            of the input's grid, always the same.
        most: How many there may be: a device has to hold them.

    Raises:
        ValueError: If the inputs are no tensors of real numbers, do not have the network's shapes,
            are not finite, or are more than `most`.
    """
    values = _examples(network, program) if inputs is None else _given(network, inputs)
    _check_count(program, len(values[0]), most)
    device = device_of(network)
    asked: list[list[Numbers]] = []
    answered: list[list[Numbers]] = []
    for n in range(len(values[0])):
        each = [x[n : n + 1] for x in values]
        with torch.no_grad():
            results = leaves(network(*(x.to(device) for x in each)))
        found = [x.cpu().numpy() for x in results if isinstance(x, Tensor)]
        asked.append(program.encoded([x.numpy() for x in each]))
        answered.append(program.expected(found))
    return Vectors(_stacked(asked), _stacked(answered))


def _stacked(rows: list[list[Numbers]]) -> tuple[Numbers, ...]:
    """For each port (vectors, bytes), of ports vector by vector."""
    return tuple(np.stack([x.reshape(-1) for x in port]) for port in zip(*rows, strict=True))


def _examples(network: Network, program: Program) -> list[Tensor]:
    """The example, then draws over the whole grid of the input, so that results are cut off too."""
    random = np.random.default_rng(0)
    sizes = [program.tensors[port.tensor].shape for port in program.inputs]
    drawn = [
        program.given([random.integers(-128, 128, size, dtype=np.int8) for size in sizes])
        for _ in range(DRAWS)
    ]
    example = [x.detach().cpu().float() for x in network.example]
    return [
        torch.cat([one, *(torch.from_numpy(draw[n]) for draw in drawn)])
        for n, one in enumerate(example)
    ]


def _given(network: Network, inputs: Inputs) -> list[Tensor]:
    wanted = [tuple(x.shape[1:]) for x in network.example]
    shown = ", ".join(f"(vectors, {', '.join(map(str, shape))})" for shape in wanted)
    values = _tensors(inputs, shown)
    shapes = [tuple(x.shape) for x in values]
    counts = {shape[0] for shape in shapes if shape}
    if [shape[1:] for shape in shapes] != wanted or len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"inputs of {', '.join(map(str, shapes))} are none of this network: pass "
            f"{shown}, at least one vector and as many for each input"
        )
    plain = [x.detach().cpu().float() for x in values]
    if not all(bool(x.isfinite().all()) for x in plain):
        raise ValueError(
            "the inputs hold NaN, infinity or a number beyond float32, which no byte stands for"
        )
    return plain


def _tensors(inputs: object, shown: str) -> list[Tensor]:
    """The tensors that were given, each an ordinary one of real numbers."""
    if isinstance(inputs, Tensor):
        found: list[object] = [inputs]
    else:
        found = list(cast("Iterable[object]", inputs)) if isinstance(inputs, Iterable) else []
    values = [x for x in found if isinstance(x, Tensor)]
    if not values or len(values) < len(found):
        raise ValueError(f"inputs={brief(inputs)}: pass tensors, {shown}")
    for x in values:
        if strange := _strange(x):
            raise ValueError(
                f"the inputs hold {strange}, and test vectors are made of real numbers "
                f"in dense tensors: pass such, {shown}"
            )
    return values


def _strange(x: Tensor) -> str | None:
    """What kind of a tensor it is, if numbers cannot be read from it one by one."""
    if x.is_nested:
        return "a nested tensor"
    if x.layout != torch.strided:
        return f"a tensor of layout {x.layout}"
    if x.is_complex():
        return f"complex numbers ({x.dtype})"
    if x.is_quantized:
        return f"a quantised tensor ({x.dtype})"
    return "a tensor without numbers (on the meta device)" if x.is_meta else None


def _check_count(program: Program, count: int, most: float) -> None:
    if count > most:
        ports = [*program.inputs, *program.outputs]
        size = count * sum(prod(program.tensors[port.tensor].shape) for port in ports)
        raise ValueError(
            f"{count:,} test vectors would take {size:,} bytes on the device, and up to "
            f"six times that as text: pass at most {most:,}, a sample of them"
        )
