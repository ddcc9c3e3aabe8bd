"""What TensorFlow Lite Micro needs of the RAM to run a file: the head of its arena, and the tail.

The head holds activations and kernels' buffers; the emulation gives it to the byte (for reference
kernels). The tail holds what stays: descriptions of tensors and operators, multipliers of channels.
It depends on the compiler and the kernels, and is estimated.

Lifetimes as in `micro_allocation_info.cc` of tflite-micro: inputs live from step 0, outputs to the
end, everything else from its operator (step 1 is the first) to its last reader.
"""

from __future__ import annotations

from dataclasses import dataclass

from compressor.counting.memory.lifetimes import Lifetime, Peak, peak
from compressor.counting.memory.plan import clashes
from compressor.counting.memory.tflm import greedy
from compressor.export.reading.contents import Contents
from compressor.export.reading.kernels import scratch, unmodelled
from compressor.export.reading.operands import operand

CONTROL = {"IF", "WHILE", "CALL_ONCE", "CALL", "STABLEHLO_WHILE", "STABLEHLO_CASE"}
"""Operators that run other subgraphs."""

_UNUSED = -1
"""Step at which TensorFlow Lite Micro lets a tensor live that nothing makes or reads."""

_PER_CHANNEL = {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"}


@dataclass(frozen=True)
class Arena:
    """Memory that a file needs.

    Attributes:
        head: Bytes of activations and kernels' buffers, as TensorFlow Lite Micro will place them.
        tail: Bytes of what stays, estimated for a processor of 32 bits.
        peak: The largest live set, below which no plan comes.
        lifetimes: Tensors in the order of the file, then kernels' buffers.
        offsets: Of each of them in the arena, in bytes.
        planned: Whether the file has a plan of its own for some of them.
        clashes: Pairs of names that the file's own plan puts on the same bytes while both are read.
        unmodelled: Names of operators whose kernels may ask for buffers that are not counted.
    """

    head: int
    tail: int
    peak: Peak
    lifetimes: tuple[Lifetime, ...]
    offsets: tuple[int, ...]
    planned: bool
    clashes: tuple[tuple[str, str], ...]
    unmodelled: tuple[str, ...]


def arena(contents: Contents) -> Arena:
    """The memory that TensorFlow Lite Micro will use for a file.

    Raises:
        ValueError: If the file has several subgraphs, whose memory is not counted, or an operator
            lacks a tensor that it must have.
    """
    _refuse_control(contents)
    places, tensors = _tensors(contents)
    buffers = _buffers(contents)
    alive = (*tensors, *buffers)
    own = [contents.plan[n] if contents.plan else None for n in places]
    placed = greedy(alive, [*own, *[None] * len(buffers)])
    pairs = clashes(alive, placed.offsets) if contents.plan else []
    return Arena(
        placed.head,
        tail(contents),
        peak(alive),
        alive,
        placed.offsets,
        any(at is not None for at in own),
        tuple((alive[m].name, alive[n].name) for m, n in pairs),
        unmodelled(contents),
    )


def tail(contents: Contents, pointer: int = 4) -> int:
    """An estimate of what stays in the arena, in bytes.

    Sizes of the structures of tflite-micro (three words a tensor, eight an operator, two integers a
    channel of a convolution), some 72 bytes of a kernel's own data an operator, and variables.

    Args:
        contents: Of the file.
        pointer: Bytes of a pointer: 4 on a microcontroller, 8 on a computer.
    """
    ends = len(contents.inputs) + len(contents.outputs)
    constant = 64 * pointer + 3 * pointer * len(contents.tensors) + 12 * pointer * ends
    kernels = (8 * pointer + 72) * len(contents.operators)
    variables = sum(tensor.size for tensor in contents.tensors if tensor.variable)
    named = (op for op in contents.operators if op.name in _PER_CHANNEL and len(op.inputs) > 1)
    channels = sum(operand(contents, op, 1).channels for op in named)
    return constant + kernels + variables + 8 * channels


def _refuse_control(contents: Contents) -> None:
    control = sorted(CONTROL & {op.name for op in contents.operators})
    if contents.subgraphs > 1 or control:
        raise ValueError(
            f"{contents.name} has {contents.subgraphs} subgraphs"
            f"{' and ' + ', '.join(control) if control else ''}: memory is counted for a network "
            "of one, without branches and loops; convert one signature alone"
        )


def _tensors(contents: Contents) -> tuple[list[int], list[Lifetime]]:
    """Places and lifetimes of the tensors that are planned: no constant, variable or empty one."""
    first = [_UNUSED] * len(contents.tensors)
    last = [_UNUSED] * len(contents.tensors)
    for n in (*contents.inputs, *contents.outputs):
        first[n] = last[n] = 0
    for step, op in enumerate(contents.operators, start=1):
        for n in op.outputs:
            first[n] = last[n] = step
        for n in op.inputs:
            if n >= 0:
                last[n] = step
    for n in contents.outputs:
        last[n] = len(contents.operators)
    names = _names(contents)
    places = [
        n
        for n, tensor in enumerate(contents.tensors)
        if tensor.size and not tensor.constant and not tensor.variable
    ]
    sizes = {n: contents.tensors[n].size for n in places}
    return places, [Lifetime(names[n], sizes[n], first[n], last[n]) for n in places]


def _buffers(contents: Contents) -> list[Lifetime]:
    """Kernels' own buffers, each alive at the step of its operator."""
    found: list[Lifetime] = []
    for step, op in enumerate(contents.operators, start=1):
        name = f"buffer of {op.name} {step - 1}"
        found += [Lifetime(name, size, step, step) for size in scratch(contents, op)]
    return found


def _names(contents: Contents) -> list[str]:
    """What messages call each tensor: its own name, or whose output it is."""
    names = [tensor.name for tensor in contents.tensors]
    for step, op in enumerate(contents.operators):
        for n in op.outputs:
            names[n] = names[n] or f"output of {op.name} {step}"
    for n in contents.inputs:
        names[n] = names[n] or "input"
    return [name or f"tensor {n}" for n, name in enumerate(names)]
