"""A program of integer operations in the order of a file: plain data between network and bytes.

Tensors lie channels last, (1, rows, columns, channels) or (1, features). What becomes of memory is
to be read off here: the bytes of every tensor, and from which operator to which it is alive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compressor.export.micro.operations import Operation

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Steps:
    """The numbers that integers stand for: ``(q - zero) * scale``.

    Attributes:
        scales: float32, (1,), or one for each entry along `axis`.
        zero: The integer that stands for 0.
        axis: The axis that scales differ along.
    """

    scales: Numbers
    zero: int = 0
    axis: int = 0

    @property
    def scale(self) -> np.float32:
        """The one scale."""
        return np.float32(self.scales.item())


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a program.

    Attributes:
        shape: As it lies in memory, channels last.
        dtype: Of its entries: int8, int32 for biases and shapes, float32 where a part of the
            network is computed so.
        steps: What its integers stand for; None for shapes and float32.
        data: A constant's content, of `shape` and `dtype`; None for what is computed.
        name: For people; empty for none.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    steps: Steps | None = None
    data: Numbers | None = None
    name: str = ""

    @property
    def constant(self) -> bool:
        """True if the file holds its content: it takes no working memory."""
        return self.data is not None

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Operator:
    """One operation of a program.

    Attributes:
        operation: What is done.
        inputs: Numbers of the tensors that it reads, constants among them.
        outputs: Numbers of those that it makes.
        layer: Name of the module of the user's model that it comes from.
    """

    operation: Operation
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    layer: str = ""


@dataclass(frozen=True)
class Lifetime:
    """From the first operator to the last one, by position, during which a tensor is alive."""

    first: int
    last: int

    def __contains__(self, position: int) -> bool:
        """True if the tensor is alive while the operator at a position runs."""
        return self.first <= position <= self.last


@dataclass(frozen=True, eq=False)
class Port:
    """An input or output of a program, as the network has it.

    Attributes:
        tensor: Its number.
        shape: The network's, (1, channels, rows, columns) for instance.
        order: For every entry in memory its place in the network's, counted row by row, (entries,).
    """

    tensor: int
    shape: tuple[int, ...]
    order: Numbers


@dataclass(frozen=True, eq=False)
class Program:
    """Operators in the order in which they run, and the tensors between them.

    Attributes:
        tensors: All of them; operators name them by position.
        operators: In order.
        inputs: What is given.
        outputs: What is returned.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def lifetimes(self) -> dict[int, Lifetime]:
        """Of every tensor that takes working memory: from its operator to the last that reads it.

        Inputs are alive from the start, outputs to the end.
        """
        first = {port.tensor: 0 for port in self.inputs}
        last = dict(first)
        for position, operator in enumerate(self.operators):
            for number in operator.outputs:
                first.setdefault(number, position)
            last |= dict.fromkeys((*operator.inputs, *operator.outputs), position)
        last |= {port.tensor: len(self.operators) - 1 for port in self.outputs}
        return {number: Lifetime(start, last[number]) for number, start in first.items()}

    def alive(self, position: int) -> tuple[int, ...]:
        """Numbers of the tensors that take working memory while an operator runs."""
        return tuple(n for n, life in self.lifetimes().items() if position in life)

    def floating(self) -> tuple[str, ...]:
        """Names of the layers that are computed in float32, in order, each once."""
        made = (o for o in self.operators if self.tensors[o.outputs[0]].dtype == np.float32)
        return tuple(dict.fromkeys(operator.layer for operator in made))

    def largest_live_set(self) -> int:
        """Bytes of the tensors that are alive together where these are most."""
        lives = self.lifetimes()
        each = range(len(self.operators))
        sizes = (sum(self.tensors[n].size for n, life in lives.items() if p in life) for p in each)
        return max(sizes, default=0)

    def encoded(self, values: Sequence[Numbers]) -> list[Numbers]:
        """The inputs, float32 in the network's shapes, as the integers that the file takes.

        Halves are rounded to even and what is beyond the grid is limited, as in the reference.

        Raises:
            ValueError: If there are more or fewer inputs than the network's, one is of another
                shape (the batch is one), or holds NaN.
        """
        arrays = [np.asarray(x) for x in values]
        self._check(arrays)
        return [self._encoded(p, x) for p, x in zip(self.inputs, arrays, strict=True)]

    def decoded(self, results: Sequence[Numbers]) -> list[Numbers]:
        """What the file returns, as float32 in the network's shapes."""
        return [self._decoded(p, x) for p, x in zip(self.outputs, results, strict=True)]

    def given(self, integers: Sequence[Numbers]) -> list[Numbers]:
        """The inputs that integers of the file stand for, float32 in the network's shapes."""
        return [self._decoded(p, x) for p, x in zip(self.inputs, integers, strict=True)]

    def expected(self, results: Sequence[Numbers]) -> list[Numbers]:
        """What the network returns, float32 in its shapes, as the integers of the file."""
        return [self._encoded(p, x) for p, x in zip(self.outputs, results, strict=True)]

    def _check(self, values: Sequence[Numbers]) -> None:
        """Refuse what are no inputs of the network."""
        wanted = [port.shape for port in self.inputs]
        if len(values) != len(wanted):
            raise ValueError(
                f"encoded: {len(values)} inputs were given and the network takes {len(wanted)}: "
                f"pass a list with an array for each, {_shown(wanted)}"
            )
        for number, (x, shape) in enumerate(zip(values, wanted, strict=True)):
            if x.shape != shape:
                raise ValueError(
                    f"encoded: input {number} is {x.shape} and the network takes {shape}: pass "
                    "one input at a time, in the network's shape"
                )
            if np.isnan(x).any():
                raise ValueError(
                    f"encoded: input {number} holds NaN, which no integer stands for: pass numbers"
                )

    def _encoded(self, port: Port, x: Numbers) -> Numbers:
        tensor = self.tensors[port.tensor]
        placed = x.astype(np.float32).reshape(-1)[port.order].reshape(tensor.shape)
        if tensor.steps is None:
            return placed
        ends = np.iinfo(tensor.dtype)
        steps = np.rint(placed / tensor.steps.scale) + tensor.steps.zero
        return np.clip(steps, ends.min, ends.max).astype(tensor.dtype)

    def _decoded(self, port: Port, x: Numbers) -> Numbers:
        steps = self.tensors[port.tensor].steps
        values = x.astype(np.float32).reshape(-1)
        if steps is not None:
            values = (values - steps.zero) * steps.scale
        found = np.empty_like(values)
        found[port.order] = values
        return found.reshape(port.shape)


def _shown(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))
