"""Parts of a network that stay in floating point: sums, products, means and roots in float32.

Residual Normalization is such a part. Values leave their grid before it and come back to one behind
it. A sum of many numbers may differ in its last bit from the reference's, which adds them up in
another order, so that a step of what comes out may, once in a while.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from compressor.export.micro.layout import axis, placed
from compressor.export.micro.operations import (
    Difference,
    Mean,
    Operation,
    Root,
    Sum,
    Times,
)
from compressor.export.micro.program import Numbers, Tensor
from compressor.export.micro.refusals import layer_of, no_kernel, refused
from compressor.export.micro.sheet import FLOAT32, Sheet, numbers
from compressor.network import Ref, Step, Weight, packet
from compressor.network.steps import Value

aten = torch.ops.aten

KINDS = aten.add, aten.sub, aten.mul, aten.mean, aten.rsqrt
"""Operations that are written so where they are in floating point."""


def operation(sheet: Sheet, step: Step) -> None:
    """Write one of `KINDS`."""
    kind = packet(step)
    if kind is aten.mean:
        _mean(sheet, step)
    elif kind is aten.rsqrt:
        _made(sheet, step, Root(), [sheet.floated(step, step.args[0])])
    elif step.kwargs.get("alpha", 1) != 1:
        raise no_kernel(sheet.network, step)
    else:
        found = {aten.add: Sum(), aten.sub: Difference(), aten.mul: Times()}[kind]
        _made(sheet, step, found, [_operand(sheet, step, value) for value in step.args[:2]])


def _mean(sheet: Sheet, step: Step) -> None:
    value: Value = step.argument("dim")
    if not step.argument("keepdim") or not isinstance(value, list | tuple):
        raise refused(step, "drops the dimensions of its mean", "keep them (keepdim=True)")
    rank = len(sheet.read(step, step.args[0]).shape)
    dims = cast("tuple[int, ...]", tuple(value))
    axes = sheet.draft.whole(sorted(axis(d, rank) for d in dims))
    _made(sheet, step, Mean(), [sheet.floated(step, step.args[0]), axes])


def _made(sheet: Sheet, step: Step, found: Operation, inputs: list[int]) -> None:
    result = Tensor(placed(sheet.network.shapes[step.name]), FLOAT32, name=step.name)
    sheet.keep(step, sheet.draft.run(found, inputs, result, layer_of(step)))


def _operand(sheet: Sheet, step: Step, value: Value) -> int:
    """A result in float32, or a constant: one number, or a tensor of as many dimensions."""
    if isinstance(value, Ref):
        _refuse_ranks(sheet, step, value)
        return sheet.floated(step, value)
    if isinstance(value, Weight):
        tensor = numbers(sheet.network.tensor(value)).astype(np.float32)
        return sheet.draft.constant(_last(sheet, step, tensor))
    return sheet.draft.constant(np.array([value], dtype=np.float32))


def _last(sheet: Sheet, step: Step, tensor: Numbers) -> Numbers:
    """A constant with its channels last, and as many dimensions as the result."""
    if tensor.size == 1:
        return tensor.reshape(1)
    rank = len(sheet.network.shapes[step.name])
    whole = tensor.reshape((*[1] * (rank - tensor.ndim), *tensor.shape))
    return np.ascontiguousarray(np.moveaxis(whole, 1, -1)).reshape(placed(whole.shape))


def _refuse_ranks(sheet: Sheet, step: Step, value: Ref) -> None:
    """Refuse results of fewer dimensions than comes out: theirs lie on other axes in memory."""
    shape, whole = sheet.read(step, value).shape, sheet.network.shapes[step.name]
    if len(shape) != len(whole):
        raise refused(
            step,
            f"puts {shape} together with a result of other dimensions, {whole}",
            "keep the dimensions (keepdim=True)",
        )
