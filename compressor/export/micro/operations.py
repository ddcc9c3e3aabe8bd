"""What a program for a microcontroller does, as values: operations and their settings.

Inputs and results are tensors of `compressor.export.micro.program`, int8 unless something else is
said, channels last.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

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
class Squares:
    """The sum of the squares of every row (1, rows, 1, entries), which is given twice."""


@dataclass(frozen=True)
class Difference:
    """Of two tensors, int8 or float32, shapes that broadcast."""


@dataclass(frozen=True)
class Mean:
    """Over axes, which the further input holds, int32, and which are kept; float32."""


@dataclass(frozen=True)
class Root:
    """One over the square root, int8 or float32."""


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
    | Squares
    | Difference
    | Mean
    | Root
)
