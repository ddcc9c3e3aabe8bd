"""A program of integer operations in the order of a file: plain data between network and bytes.

Tensors lie channels last, (1, rows, columns, channels) or (1, features). What becomes of memory is
to be read off here: the bytes of every tensor, and from which operator to which it is alive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]

Pair = tuple[int, int]
"""Something for rows and for columns."""


class Cut(Enum):
    """Limits of a result beside those of its grid."""

    NONE = None, None
    RELU = 0.0, None
    RELU_1 = -1.0, 1.0
    RELU_6 = 0.0, 6.0


@dataclass(frozen=True)
class Convolution:
    """Input (1, h, w, i), weight (o, kh, kw, i / groups), bias (o,).

    Attributes:
        stride: Steps between outputs.
        dilation: Steps between the kernel's entries.
        same: True for as many outputs as strides begin in the input, zeros being added on both
            sides, the odd one behind; False for none added.
        cut: Limits of the result.
    """

    stride: Pair
    dilation: Pair
    same: bool
    cut: Cut = Cut.NONE


@dataclass(frozen=True)
class Depthwise(Convolution):
    """Likewise, with a weight (1, kh, kw, i * multiplier)."""

    multiplier: int = 1


@dataclass(frozen=True)
class Product:
    """Input of any shape with i entries, weight (o, i), bias (o,): a fully connected layer."""

    cut: Cut = Cut.NONE


@dataclass(frozen=True)
class Sum:
    """Of two tensors, shapes that broadcast."""

    cut: Cut = Cut.NONE


@dataclass(frozen=True)
class Times:
    """The product of two tensors entry by entry, shapes that broadcast."""

    cut: Cut = Cut.NONE


@dataclass(frozen=True)
class MaxPool:
    """The largest of every window; `same` as of `Convolution`, nothing being added to a window."""

    window: Pair
    stride: Pair
    same: bool


@dataclass(frozen=True)
class Joined:
    """Tensors on one grid, one behind the other along an axis."""

    axis: int


@dataclass(frozen=True)
class Part:
    """A part of a tensor; further inputs are its begin and its size along all axes, int32."""


@dataclass(frozen=True)
class Padded:
    """A tensor with zeros around it; the further input is (axes, 2), int32."""


@dataclass(frozen=True)
class Reshaped:
    """The same bytes in the shape of the result, which the further input holds, int32."""


@dataclass(frozen=True)
class Moved:
    """Values on another grid, or float32 on a grid."""


@dataclass(frozen=True)
class Sigmoid:
    """To steps of 1 / 256."""


@dataclass(frozen=True)
class Floated:
    """Integers as the numbers that they stand for, float32."""


@dataclass(frozen=True)
class Difference:
    """Of two float32 tensors, shapes that broadcast."""


@dataclass(frozen=True)
class Mean:
    """Over axes, which the further input holds, int32, and which are kept; float32."""


@dataclass(frozen=True)
class Root:
    """One over the square root, float32."""


Operation = (
    Convolution
    | Depthwise
    | Product
    | Sum
    | Times
    | MaxPool
    | Joined
    | Part
    | Padded
    | Reshaped
    | Moved
    | Sigmoid
    | Floated
    | Difference
    | Mean
    | Root
)


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
        """
        return [self._encoded(p, x) for p, x in zip(self.inputs, values, strict=True)]

    def decoded(self, results: Sequence[Numbers]) -> list[Numbers]:
        """What the file returns, as float32 in the network's shapes."""
        return [self._decoded(p, x) for p, x in zip(self.outputs, results, strict=True)]

    def given(self, integers: Sequence[Numbers]) -> list[Numbers]:
        """The inputs that integers of the file stand for, float32 in the network's shapes."""
        return [self._decoded(p, x) for p, x in zip(self.inputs, integers, strict=True)]

    def expected(self, results: Sequence[Numbers]) -> list[Numbers]:
        """What the network returns, float32 in its shapes, as the integers of the file."""
        return [self._encoded(p, x) for p, x in zip(self.outputs, results, strict=True)]

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


@dataclass
class Draft:
    """A program that is being written.

    Attributes:
        tensors: So far.
        operators: So far.
    """

    tensors: list[Tensor] = field(default_factory=list[Tensor])
    operators: list[Operator] = field(default_factory=list[Operator])
    _known: dict[Any, int] = field(default_factory=dict[Any, int])

    def add(self, tensor: Tensor) -> int:
        """The number of a new tensor; of an equal constant that is there already."""
        if tensor.data is not None:
            steps = tensor.steps
            grid = None if steps is None else (steps.scales.tobytes(), steps.zero, steps.axis)
            key = (tensor.shape, tensor.dtype.str, grid, tensor.data.tobytes())
            if key in self._known:
                return self._known[key]
            self._known[key] = len(self.tensors)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, data: Numbers, steps: Steps | None = None, name: str = "") -> int:
        """The number of a constant of this content."""
        return self.add(Tensor(data.shape, data.dtype, steps, data, name))

    def whole(self, numbers: Any) -> int:
        """The number of a constant of int32, as shapes and sizes are."""
        return self.constant(np.array(numbers, dtype=np.int32))

    def run(
        self, operation: Operation, inputs: Sequence[int], result: Tensor, layer: str = ""
    ) -> int:
        """Append an operator; the number of its result."""
        number = self.add(result)
        self.operators.append(Operator(operation, tuple(inputs), (number,), layer))
        return number
