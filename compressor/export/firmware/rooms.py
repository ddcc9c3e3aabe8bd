"""The arena to declare: what is known to the byte, what is estimated, and what is left over."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from compressor.counting.memory.lifetimes import rounded_up
from compressor.export.micro.operations import Convolution, Depthwise
from compressor.export.micro.program import Program
from compressor.export.reading.contents import Contents
from compressor.export.reading.needs import arena

SPARE = 4
"""One part in so many of the estimate is added to it: so far it is from what was measured."""


@dataclass(frozen=True)
class Room:
    """Bytes of an arena, each a multiple of 16.

    Attributes:
        head: Of activations, by the plan in the file.
        tail: Of what stays, estimated for a processor of 32 bits.
        spare: A quarter of `tail`.
        kernels: For buffers of CMSIS-NN's kernels, by its own formulas for processors with DSP
            instructions (Cortex-M4, M7, M33), of which the largest is needed at a time. The
            reference kernels ask for none.
    """

    head: int
    tail: int
    spare: int
    kernels: int

    @property
    def size(self) -> int:
        """All of it."""
        return self.head + self.tail + self.spare + self.kernels


def room(program: Program, contents: Contents) -> Room:
    """What a program needs, and its file of these contents."""
    needed = arena(contents)
    tail = rounded_up(needed.tail)
    buffers = max((_buffer(program, n) for n in range(len(program.operators))), default=0)
    return Room(needed.head, tail, rounded_up(-(-tail // SPARE)), rounded_up(buffers))


def _buffer(program: Program, position: int) -> int:
    """What CMSIS-NN asks for a convolution: two columns of what an output reads, of 16 bits.

    For a depthwise one, one such column. `arm_convolve_s8_get_buffer_size_dsp` and
    `arm_depthwise_conv_s8_opt_get_buffer_size_dsp` of CMSIS-NN; some forms need less.
    """
    operator = program.operators[position]
    if not isinstance(operator.operation, Convolution):
        return 0
    weight = program.tensors[operator.inputs[1]].shape
    if isinstance(operator.operation, Depthwise):
        return 2 * prod(weight)
    return 4 * rounded_up(prod(weight[1:]), 4)
