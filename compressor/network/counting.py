"""What a network costs, read off its steps: a second opinion on what `compressor.measure` counts.

`measure` runs a model and lets PyTorch's counter see every operation. Here nothing of that is used:
the multiply-accumulates of a step follow from the shapes of its weight and of its result. It is how
a file is counted that was just read back.
"""

from __future__ import annotations

from math import prod
from typing import cast

import torch
from torch import Tensor

from compressor.network.core import Network
from compressor.network.steps import Ref, Step, Weight, packet
from compressor.quantization.integer import IntTransposed

aten = torch.ops.aten

_CONVOLUTIONS = (aten.conv1d, aten.conv2d, aten.conv3d)
_TRANSPOSED = (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)
_PRODUCTS = (aten.matmul, aten.mm, aten.bmm)
_UNREAD = ["lstm", "gru", "rnn", "attention", "einsum", "addmm", "baddbmm", "mv", "dot", "bilinear"]


def multiply_accumulates(network: Network) -> int | None:
    """Multiply-accumulates of one input; None where a step multiplies in a way not read here.

    Called modules that hold a weight (layers of integers) take it as their second argument.
    """
    total = 0
    for step in network.steps:
        found = _step(network, step)
        if found is None:
            return None
        total += found
    return total


def entries(network: Network) -> tuple[int, int]:
    """Entries of all parameters and integer weights, and how many of them are not zero."""
    tensors = {id(t): t for t in network.parameters()}
    tensors |= {id(t): t for t in network.buffers() if t.dtype == torch.int8}
    counted = tensors.values()
    return sum(t.numel() for t in counted), sum(int(t.count_nonzero()) for t in counted)


def _step(network: Network, step: Step) -> int | None:
    called, shapes = packet(step), network.shapes
    if called in _PRODUCTS:
        left, right = (_shape(network, arg) for arg in step.args[:2])
        return prod(left) * (right[-1] if len(right) > 1 else 1) if left and right else None
    if isinstance(step.op, str):
        return _called(network, step)
    if called in _CONVOLUTIONS or called is aten.linear:
        return _applied(
            _shape(network, step.args[1]), shapes[step.name], last=called is aten.linear
        )
    if called in _TRANSPOSED:
        return _spread(_shape(network, step.args[1]), _shape(network, step.args[0]))
    return None if any(name in str(step.op) for name in _UNREAD) else 0


def _called(network: Network, step: Step) -> int:
    """Of a submodule, which multiplies by its second argument if that is a weight."""
    weight = step.args[1] if len(step.args) > 1 else None
    if not isinstance(weight, Weight):
        return 0
    kernel = tuple(network.tensor(weight).shape)
    if isinstance(network.get_submodule(cast("str", step.op)), IntTransposed):
        return _spread(kernel, _shape(network, step.args[0]))
    return _applied(kernel, network.shapes[step.name])


def _applied(kernel: tuple[int, ...], result: tuple[int, ...], *, last: bool = False) -> int:
    """A kernel (outputs, ...) applied once for every position of the result."""
    if last or len(kernel) == 2:
        return prod(kernel) * prod(result[:-1])
    return prod(kernel) * prod(result[2 - len(kernel) :])


def _spread(kernel: tuple[int, ...], source: tuple[int, ...]) -> int:
    """A kernel (inputs, ...) applied once for every position of what it is applied to."""
    return prod(kernel) * prod(source[2 - len(kernel) :])


def _shape(network: Network, value: object) -> tuple[int, ...]:
    if isinstance(value, Weight):
        tensor: Tensor = network.tensor(value)
        return tuple(tensor.shape)
    return network.shapes.get(value.name, ()) if isinstance(value, Ref) else ()
