"""Layers with weights, and means, as convolutions and products of a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from compressor.export.micro.layout import channels_last, placed, plain
from compressor.export.micro.operations import (
    Convolution,
    Cut,
    Depthwise,
    Joined,
    Pair,
    Product,
)
from compressor.export.micro.padding import Edge, edges
from compressor.export.micro.program import Numbers, Steps
from compressor.export.micro.refusals import layer_of, refused
from compressor.export.micro.sheet import ENDS, Sheet, goal, numbers
from compressor.export.qdq import slabs
from compressor.network import Step, Weight
from compressor.network.fixed import FULL_WEIGHT, FixedConv, FixedLinear, FixedMean, FixedScale
from compressor.network.fixed_point import factor
from compressor.network.integer import Geometry
from compressor.quantization.folding import WHOLE, largest_sum

LONG = 2048
"""Bytes of weights from which a mean does without one for every channel."""


@dataclass(frozen=True)
class _Kernel:
    """What a convolution multiplies and adds.

    Attributes:
        weight: int8 (outputs, inputs / groups, rows, columns), in the signs of positive scales.
        scale: float32 (outputs,), positive, or (1,) for one of all.
        bias: int32 (outputs,).
        geometry: How it moves, over rows and columns.
    """

    weight: Numbers
    scale: Numbers
    bias: Numbers
    geometry: Geometry


def convolution(sheet: Sheet, step: Step, module: FixedConv) -> None:
    """A convolution over one or two dimensions, with scales for sub-bands or without."""
    weight = sheet.network.tensor(cast("Weight", step.args[1]))
    moves = module.geometry
    if weight.dim() == 3:
        weight = weight.unsqueeze(2)
        moves = Geometry(
            (1, *moves.stride), (0, *moves.padding), (1, *moves.dilation), moves.groups
        )
    held = sheet.rounded(step, step.args[0])
    if weight.dim() != 4 or len(held.shape) != len(module.geometry.stride) + 2:
        raise refused(
            step,
            f"convolves {held.shape} by {tuple(weight.shape)}",
            "give it a batch, channels and one or two dimensions",
        )
    _each_band(sheet, step, module.scale, module.bias, lambda s, b: _kernel(weight, s, b, moves))


def scaling(sheet: Sheet, step: Step, module: FixedScale) -> None:
    """A gain and a shift for each channel: a depthwise convolution of one entry."""
    channels = module.scale.shape[0]
    weight = torch.full((channels, 1, 1, 1), FULL_WEIGHT, dtype=torch.int8)
    moves = Geometry((1, 1), (0, 0), (1, 1), channels)
    _each_band(sheet, step, module.scale, module.bias, lambda s, b: _kernel(weight, s, b, moves))


def mean(sheet: Sheet, step: Step, module: FixedMean) -> None:
    """Means over windows: a depthwise convolution of equal weights, its padding zeros as theirs.

    With a bias of zeros: TensorFlow Lite's other interpreter ends the process where there is none.
    """
    over = module.windows.plane()
    channels = sheet.network.shapes[step.name][1]
    x = sheet.wanted(step, step.args[0])
    inputs = sheet.entry(x).shape[1:3]
    if over.size == inputs and not any(over.padding) and _spares(sheet, x):
        _over_all(sheet, step, module, x)
        return
    weight = torch.full((channels, 1, *over.size), FULL_WEIGHT, dtype=torch.int8)
    bias = torch.zeros(channels, dtype=torch.int32)
    moves = replace(over.moves, groups=channels)
    if not any(over.padding):  # where one window is all, no stride: accelerators take up to three
        each = zip(over.stride, over.size, inputs, strict=True)
        moves = replace(moves, stride=tuple(1 if size == n else by for by, size, n in each))
    scale = numbers(module.weight_scale).reshape(1)
    _whole(sheet, step, _Kernel(numbers(weight), scale, numbers(bias), moves))


def _spares(sheet: Sheet, x: int) -> bool:
    """True if a mean of all rows and columns had better not have a weight for every channel.

    That is `LONG` bytes or more, where an operator before reads and makes as much as two tensors of
    this size, so that a copy of it is never the peak of the memory.
    """
    size = sheet.entry(x).size
    if size < LONG:
        return False
    each = ([sheet.entry(n) for n in (*o.inputs, *o.outputs)] for o in sheet.draft.operators)
    before = max(sum(entry.size for entry in some if not entry.constant) for some in each)
    return size <= before // 2


def _over_all(sheet: Sheet, step: Step, module: FixedMean, x: int) -> None:
    """The mean of all rows and columns with one weight for all channels.

    The same sums: channels are taken for columns, and one convolution runs along all entries of
    each. `x` is in the shape (1, rows, columns, channels).
    """
    _, rows, columns, channels = sheet.entry(x).shape
    count = rows * columns
    weight = np.full((1, 1, count, 1), FULL_WEIGHT, dtype=np.int8)
    scale, bias = numbers(module.weight_scale).reshape(1), np.zeros(1, dtype=np.int32)
    moves = Geometry((1, 1), (0, 0), (1, 1))
    flat = sheet.shaped(x, (1, count, channels, 1), step)
    kernel = _Kernel(weight, scale, bias, moves)
    sheet.keep(step, _applied(sheet, step, kernel, flat, ((0, 0), (1, channels))))


def product(sheet: Sheet, step: Step, module: FixedLinear) -> None:
    """A matrix product of (1, inputs), whose weight takes them in the order in which they lie."""
    held = sheet.rounded(step, step.args[0])
    if len(held.shape) != 2:
        raise refused(
            step,
            f"multiplies the last of the {len(held.shape)} dimensions of {held.shape}",
            "use a convolution of one entry over channels in its place",
        )
    weight = sheet.network.tensor(cast("Weight", step.args[1]))
    order = sheet.order(held, plain(held.shape), held.shape)
    steps, cut = goal(sheet.network, step)
    sign = numbers(module.scale.sign())[:, None].astype(np.int8)
    scale = numbers(module.scale.abs())
    turned = np.ascontiguousarray((numbers(weight) * sign)[:, order])
    given, bias = sheet.steps(held.tensor), numbers(module.bias)
    _check_sums(step, given, steps, (turned, scale, bias))
    inputs = (
        held.tensor,
        sheet.draft.constant(turned, Steps(scale), cast("Weight", step.args[1]).name),
        sheet.draft.constant(bias, Steps(given.scale * scale)),
    )
    shape = sheet.network.shapes[step.name]
    sheet.keep(step, sheet.run(Product(cut), inputs, shape, steps, step), plain(shape))


def _kernel(weight: Tensor, scale: Tensor, bias: Tensor, moves: Geometry) -> _Kernel:
    sign = scale.sign().to(torch.int8).view(-1, 1, 1, 1).cpu()
    return _Kernel(numbers(weight.cpu() * sign), numbers(scale.abs()), numbers(bias), moves)


def _each_band(
    sheet: Sheet,
    step: Step,
    scale: Tensor,
    bias: Tensor,
    kernel: Callable[[Tensor, Tensor], _Kernel],
) -> None:
    """One convolution, or one for every sub-band, put together."""
    if scale.dim() == 1:
        _whole(sheet, step, kernel(scale, bias))
        return
    bands = scale.shape[1]
    made = [kernel(scale[:, band], bias[:, band]) for band in range(bands)]
    x = sheet.wanted(step, step.args[0])
    shape = sheet.network.shapes[step.name]
    sizes = shape[2] // bands, shape[3]
    padding = made[0].geometry.padding
    found = slabs(made[0].geometry, made[0].weight.shape[2], sheet.entry(x).shape[1], bands)
    parts: list[int] = []
    for slab, each in zip(found, made, strict=True):
        if slab.rows[0] >= slab.rows[1]:
            raise refused(step, "has a sub-band that lies in its padding alone", "pad it less")
        rows = sheet.part(x, 1, slab.rows, step)
        before = slab.padding[0], padding[1]
        parts.append(_applied(sheet, step, each, rows, (before, sizes)))
    steps = sheet.steps(parts[0])
    joined = sheet.run(Joined(1), parts, placed(shape), steps, step)
    sheet.keep(step, joined)


def _whole(sheet: Sheet, step: Step, kernel: _Kernel) -> None:
    """A convolution of all rows."""
    x = sheet.wanted(step, step.args[0])
    shape = sheet.network.shapes[step.name]
    rows, columns = placed(shape)[1:3]
    before = kernel.geometry.padding[0], kernel.geometry.padding[1]
    number = _applied(sheet, step, kernel, x, (before, (rows, columns)))
    sheet.keep(step, number, channels_last(shape))


def _applied(sheet: Sheet, step: Step, kernel: _Kernel, x: int, sizes: tuple[Pair, Pair]) -> int:
    """The result of a convolution of a tensor, padded by so much in front, of so many entries."""
    before, outputs = sizes
    moves, size = kernel.geometry, kernel.weight.shape[2:]
    inputs = sheet.entry(x).shape
    each = [
        Edge(inputs[d + 1], outputs[d], size[d], moves.stride[d], moves.dilation[d], before[d])
        for d in range(2)
    ]
    found = edges(each, by_kernel=layer_of(step) in sheet.by_kernel)
    x = x if found.plain else sheet.padded(x, found.pads, step)
    more = [(0, n - old) for n, old in zip(found.kernel, size, strict=True)]
    weight = np.pad(kernel.weight, ((0, 0), (0, 0), *more))
    steps, cut = goal(sheet.network, step)
    given = sheet.steps(x)
    _check_sums(step, given, steps, (weight, kernel.scale, kernel.bias))
    numbers = (x, *_constants(sheet, kernel, weight, given.scale, inputs[3]))
    operation = _operation(kernel, inputs[3], same=found.same, cut=cut)
    shape = (1, *outputs, len(weight))
    return sheet.run(operation, numbers, shape, steps, step)


def _operation(kernel: _Kernel, channels: int, *, same: bool, cut: Cut) -> Convolution:
    moves = kernel.geometry
    stride, dilation = cast("Pair", moves.stride), cast("Pair", moves.dilation)
    if not _depthwise(kernel, channels):
        return Convolution(stride, dilation, same, cut)
    return Depthwise(stride, dilation, same, cut, len(kernel.weight) // channels)


def _constants(
    sheet: Sheet, kernel: _Kernel, weight: Numbers, given: np.float32, channels: int
) -> list[int]:
    """Weight and bias, as a file holds them."""
    depthwise = _depthwise(kernel, channels)
    placed = weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
    steps = Steps(kernel.scale, axis=3 if depthwise else 0)
    bias = np.ascontiguousarray(kernel.bias)
    return [
        sheet.draft.constant(np.ascontiguousarray(placed), steps),
        sheet.draft.constant(bias, Steps(given * kernel.scale)),
    ]


def _depthwise(kernel: _Kernel, channels: int) -> bool:
    return kernel.geometry.groups == channels > 1


def _check_sums(
    step: Step, given: Steps, steps: Steps, kernel: tuple[Numbers, Numbers, Numbers]
) -> None:
    """Refuse sums that 32 bits may not hold, as they are or on the way to their grid.

    Factors above one are powers of two first, by which a sum is multiplied before it is scaled.
    """
    weight, scale, bias = kernel
    real = float(given.scale) * torch.from_numpy(scale).double() / float(steps.scale)
    _, shift = factor(real)
    more = 1 << max(int(shift.max()), 0)
    furthest = max(abs(end - given.zero) for end in ENDS)
    largest = largest_sum(torch.from_numpy(weight), torch.from_numpy(bias), furthest) * more
    if largest > WHOLE:
        raise refused(
            step,
            f"may come to {largest:,} on the way to its grid, more than the {WHOLE:,} of 32 bits",
            "split its input, take fewer channels, or train it with a smaller gain behind it",
        )
