"""Test vectors: inputs, and the bytes that the integer reference says a device must answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressor.export.micro.program import Numbers, Program
from compressor.inputs.tensors import device_of, leaves
from compressor.network import Network
from compressor.wording import brief

DRAWS = 3
"""Inputs that are drawn beside the example where none are given."""

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


def vectors(network: Network, program: Program, inputs: Inputs | None = None) -> Vectors:
    """What a device is asked, and what it must answer.

    Args:
        network: The integer reference.
        program: What is written of it.
        inputs: Numbers as the network takes them, (vectors, ...); a sequence of such tensors for
            several inputs. None for the network's example and three draws, uniform over the bytes
            of the input's grid, always the same.

    Raises:
        ValueError: If the inputs do not have the network's shapes, or are not finite.
    """
    values = _examples(network, program) if inputs is None else _given(network, inputs)
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
    values = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    wanted = [tuple(x.shape[1:]) for x in network.example]
    shown = ", ".join(f"(vectors, {', '.join(map(str, shape))})" for shape in wanted)
    if not values or not all(isinstance(x, Tensor) for x in values):
        raise ValueError(f"firmware(inputs={brief(inputs)}): pass tensors, {shown}")
    shapes = [tuple(x.shape) for x in values]
    counts = {shape[0] for shape in shapes if shape}
    if [shape[1:] for shape in shapes] != wanted or len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"firmware: inputs of {', '.join(map(str, shapes))} are none of this network: pass "
            f"{shown}, at least one vector and as many for each input"
        )
    if not all(bool(x.isfinite().all()) for x in values):
        raise ValueError("firmware: the inputs hold NaN or infinity, which no byte stands for")
    return [x.detach().cpu().float() for x in values]
