"""Smaller pictures on which a network of pictures can be tried.

A convolution does the same at every place. So what the code does with channels shows on a picture
of half the side, in a quarter of the time, unless the program holds sizes of the picture. What goes
wrong there is judged on the whole picture again (`compressor.tracing.ways`).
"""

from __future__ import annotations

from math import prod

import torch
from torch.fx import Node

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import Program, shape_of
from compressor.inputs.example import Inputs

LARGE = 64 * 64
"""Places from which a smaller picture is worth it."""

LEAST = 3
"""Places a side that every map keeps: one place alone has no mean, and no neighbours."""

FACTORS = (4, 2)
"""Times that the sides become shorter, where they can be divided by it."""

_EVERYWHERE = frozenset(
    {Kind.POINTWISE, Kind.COPIES, Kind.DROPOUT, Kind.PRELU, Kind.BATCH_NORM, Kind.GROUP_NORM}
    | {Kind.CONVOLUTION, Kind.LINEAR, Kind.WINDOWS, Kind.REDUCES, Kind.JOINS}
)
"""Kinds that do the same whatever the sides of the maps are."""

_SHAPING = frozenset({Kind.VIEWS, Kind.SHAPED, Kind.MOVES})
"""Kinds that may hold them as numbers, unless the maps have a single place."""


def smaller(program: Program, example: Inputs) -> Inputs | None:
    """The corner of a picture on which the same operations work; None where there is none.

    Args:
        program: What was exported with the example.
        example: Its inputs: a single one, of shape (1, channel, height, width).
    """
    if len(example) != 1 or example[0].ndim != 4 or not example[0].is_floating_point():
        return None
    height, width = example[0].shape[2:]
    if height * width < LARGE or not all(map(_anywhere, program.graph.nodes)):
        return None
    maps = [shape_of(node)[2:] for node in program.graph.nodes if node.op == "call_function"]
    least = min((side for sides in maps for side in sides if side > 1), default=1)
    for factor in FACTORS:
        if least >= LEAST * factor and height % factor == width % factor == 0:
            return (example[0][:, :, : height // factor, : width // factor].contiguous(),)
    return None


def _anywhere(node: Node) -> bool:
    """True if an operation is the same for maps of other sides, and gives maps or vectors."""
    if node.op != "call_function":
        return True
    kind, shape = operation_of(node.target).kind, shape_of(node)
    if len(shape) not in (2, 4) or not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    single = prod(shape_of(node.args[0])[2:]) == 1
    return kind in _EVERYWHERE or (kind in _SHAPING and single)
