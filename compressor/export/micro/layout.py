"""The order of values in memory: a network's, channels first, and a file's, channels last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from compressor.export.micro.program import Numbers

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Held:
    """A result of a network as a tensor of the program.

    Attributes:
        tensor: Its number.
        shape: The network's.
        order: For every entry in memory its place in the network's, counted row by row, (entries,);
            None for an input whose order its first reader may choose.
    """

    tensor: int
    shape: Shape
    order: Numbers | None


def plain(shape: Shape) -> Numbers:
    """The order of a network."""
    return np.arange(math.prod(shape))


def channels_last(shape: Shape) -> Numbers:
    """The order that operators want: (1, c, h, w) as (1, h, w, c), (1, c, t) as (1, 1, t, c)."""
    return np.moveaxis(plain(shape).reshape(shape), 1, -1).reshape(-1)


def placed(shape: Shape) -> Shape:
    """The shape of a tensor whose channels are last; of one with fewer than three its own."""
    if len(shape) == 4:
        return shape[0], shape[2], shape[3], shape[1]
    if len(shape) == 3:
        return shape[0], 1, shape[2], shape[1]
    return shape


def axis(dim: int, rank: int) -> int:
    """The axis in memory of a dimension of a network's result of 2 to 4 dimensions."""
    if rank == 2:
        return dim % 2
    last = {0: 0, 1: 3, 2: 1, 3: 2} if rank == 4 else {0: 0, 1: 3, 2: 2}
    return last[dim % rank]
