"""From the integer reference to a program: every step in order, channels moved to the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from compressor.export.micro import islands, layers, residual
from compressor.export.micro.layout import Held, channels_last, placed
from compressor.export.micro.operations import (
    Joined,
    MaxPool,
    Moved,
    Operation,
    Sigmoid,
    Sum,
    Times,
)
from compressor.export.micro.padding import Edge, edges
from compressor.export.micro.program import Program
from compressor.export.micro.refusals import check_operations, no_kernel, refused
from compressor.export.micro.sheet import ENDS, Sheet, along, goal, steps_of, turned, uncut
from compressor.network import Network, Ref, Step, packet
from compressor.network.constants import with_constants
from compressor.network.fixed import (
    FixedConv,
    FixedLinear,
    FixedMean,
    FixedMove,
    FixedProduct,
    FixedScale,
    FixedSigmoid,
    FixedSum,
)
from compressor.network.fixed_norm import FixedNorm
from compressor.network.integer import IntConv, IntLinear, IntMean, Requantise
from compressor.network.steps import Value
from compressor.network.sums import IntSum
from compressor.quantization.place import cut

aten = torch.ops.aten

_VIEWS = (aten.view, aten.reshape, aten.flatten, aten.unflatten, aten.squeeze, aten.unsqueeze)
_SAME = (aten.contiguous, aten.clone, aten.detach, aten.alias)


def translated(network: Network, by_kernel: Sequence[str] = ()) -> Program:
    """The program that computes what an integer reference does, bit for bit.

    Args:
        network: Rounded with `compressor.quantization.presets.TFLM`.
        by_kernel: Names of layers whose padding becomes further entries of zero of their kernels,
            where that is possible: no copy of their input, some more weights.

    Sums, products, means and roots that the reference has in floating point (Residual
    Normalization, with ``statistics=False``) stay so, between operators that leave the grid and
    come back to it: these parts take four bytes a value, and their last bits may differ
    (`Program.floating` names them).

    Raises:
        ValueError: If the network was not rounded so, takes several sizes or a batch, or has an
            operation that is not written as integers; the error names the layer and a substitute.
    """
    check_operations(network)
    _check(network)
    network = with_constants(network)
    sheet = Sheet(network, by_kernel)
    for step in network.steps:
        called = network.called(step)
        if called is None:
            _operation(sheet, step)
        else:
            _module(sheet, step, called)
    return sheet.program()


def _check(network: Network) -> None:
    grids = [m for m in network.modules() if isinstance(m, Requantise)]
    if not grids:
        raise ValueError(
            "export: this network computes in floating point, and a .tflite holds integers: end "
            "the schedule with Int8(preset=presets.TFLM)"
        )
    if any((g.grid.low, g.grid.high) != ENDS for g in grids) or _rounded_once(network):
        raise ValueError(
            "export: this network was rounded for another runtime than TensorFlow Lite Micro, whose"
            " results would differ: use Int8(preset=presets.TFLM)"
        )
    for name, x, opened in zip(network.inputs, network.example, network.open, strict=True):
        more = [d for d in opened if d]
        if more:
            raise ValueError(
                f"export: the network leaves the dimensions {more} of {name!r} open, and a "
                "microcontroller's memory is planned for one size: leave varying out"
            )
        if not 2 <= x.dim() <= 4 or x.shape[0] != 1:
            raise ValueError(
                f"export: the input {name!r} is {tuple(x.shape)}, and a .tflite takes a batch of "
                "one, channels and up to two dimensions more: reshape what the network takes"
            )


def _rounded_once(network: Network) -> bool:
    """True if a layer, a mean or a sum comes to its grid in another way."""
    for step in network.steps:
        called = network.called(step)
        layer = isinstance(called, IntConv | IntLinear) and len(step.args) > 2
        fixed = isinstance(called, FixedConv | FixedLinear | FixedMean | FixedSum)
        if not fixed and (layer or isinstance(called, IntMean | IntSum)):
            return True
    return False


def _module(sheet: Sheet, step: Step, called: nn.Module) -> None:
    """Write a step that calls a module of the reference."""
    if isinstance(called, Requantise):
        _grid(sheet, step, called)
    elif isinstance(called, FixedConv):
        layers.convolution(sheet, step, called)
    elif isinstance(called, FixedLinear):
        layers.product(sheet, step, called)
    elif isinstance(called, FixedMean):
        layers.mean(sheet, step, called)
    elif isinstance(called, FixedScale):
        layers.scaling(sheet, step, called)
    elif isinstance(called, FixedNorm):
        residual.normalised(sheet, step, called)
    else:
        _entrywise(sheet, step, called)


def _entrywise(sheet: Sheet, step: Step, called: nn.Module) -> None:
    """Write a step that calls a module which works entry by entry."""
    if isinstance(called, FixedSum):
        _pair(sheet, step, Sum(goal(sheet.network, step)[1]))
    elif isinstance(called, FixedProduct):
        _pair(sheet, step, Times(goal(sheet.network, step)[1]))
    elif isinstance(called, FixedSigmoid):
        _one(sheet, step, Sigmoid())
    elif isinstance(called, FixedMove):
        _move(sheet, step)
    else:
        raise no_kernel(sheet.network, step)


def _grid(sheet: Sheet, step: Step, grid: Requantise) -> None:
    """Values come to a grid: those of an input, or what an operator has put there already."""
    held = sheet.read(step, step.args[0])
    entry = sheet.entry(held.tensor)
    if entry.steps is not None:
        if entry.steps.scale != steps_of(grid).scale or entry.steps.zero != grid.grid.zero:
            raise no_kernel(sheet.network, step)
        sheet.held[step.name] = held
    elif sheet.fresh(held):
        sheet.begin(step, grid)
    else:
        number = sheet.floated(step, step.args[0])
        shape = sheet.entry(number).shape
        sheet.keep(step, sheet.run(Moved(), [number], shape, steps_of(grid), step))


def _operation(sheet: Sheet, step: Step) -> None:
    """Write an operation of PyTorch."""
    kind = packet(step)
    if kind in (aten.max_pool1d, aten.max_pool2d):
        _pool(sheet, step)
    elif kind is aten.cat:
        _join(sheet, step)
    elif kind is aten.slice:
        _slice(sheet, step)
    elif kind in (aten.permute, aten.transpose):
        _turn(sheet, step)
    elif kind in (*_VIEWS, *_SAME):
        held = sheet.read(step, step.args[0])
        sheet.held[step.name] = Held(held.tensor, sheet.network.shapes[step.name], held.order)
    elif kind in islands.KINDS:
        islands.operation(sheet, step)
    elif cut(step) is not None:  # what makes the values cuts them off
        sheet.held[step.name] = sheet.rounded(step, step.args[0])
    elif not _is_number(sheet.network, step):
        raise no_kernel(sheet.network, step)


def _is_number(network: Network, step: Step) -> bool:
    """True if a step makes a size, or counts with sizes: all are known here."""
    kind = packet(step)
    return kind is aten.sym_size or (kind is None and step.name not in network.shapes)


def _pair(sheet: Sheet, step: Step, operation: Operation) -> None:
    """A sum or product of two results of as many dimensions."""
    one, other = (sheet.rounded(step, value) for value in step.args[:2])
    if len(one.shape) != len(other.shape):
        raise refused(
            step,
            f"puts {one.shape} and {other.shape} together, of different dimensions",
            "keep the dimensions (keepdim=True)",
        )
    steps, _ = goal(sheet.network, step)
    shape = sheet.network.shapes[step.name]
    if one.order is not None and other.order is not None and _alike(sheet, one, other):
        inputs = one.tensor, other.tensor
        placed_shape = sheet.entry(one.tensor).shape
        sheet.keep(step, sheet.run(operation, inputs, placed_shape, steps, step), one.order)
        return
    inputs = tuple(sheet.wanted(step, value) for value in step.args[:2])
    sheet.keep(step, sheet.run(operation, inputs, placed(shape), steps, step))


def _alike(sheet: Sheet, one: Held, other: Held) -> bool:
    """True if two results lie alike in memory."""
    shapes = (sheet.entry(held.tensor).shape for held in (one, other))
    same = one.shape == other.shape and len(set(shapes)) == 1
    return same and np.array_equal(
        cast("Sequence[int]", one.order), cast("Sequence[int]", other.order)
    )


def _move(sheet: Sheet, step: Step) -> None:
    """A move to another grid, if it is another one."""
    held = sheet.rounded(step, step.args[0])
    given, wanted = sheet.steps(held.tensor), uncut(sheet.network, step)
    if (given.scale, given.zero) == (wanted.scale, wanted.zero):
        sheet.held[step.name] = held
    else:
        _one(sheet, step, Moved())


def _one(sheet: Sheet, step: Step, operation: Operation) -> None:
    """An operation on every entry of one result, in whatever order they lie."""
    held = sheet.rounded(step, step.args[0])
    steps = uncut(sheet.network, step)
    order = sheet.order(held, channels_last(held.shape), placed(held.shape))
    shape = sheet.entry(held.tensor).shape
    sheet.keep(step, sheet.run(operation, (held.tensor,), shape, steps, step), order)


def _join(sheet: Sheet, step: Step) -> None:
    """Results on one grid, put together."""
    parts = [sheet.wanted(step, part) for part in cast("tuple[Ref, ...]", step.args[0])]
    steps = uncut(sheet.network, step)
    for number in parts:
        given = sheet.steps(number)
        if given.scale != steps.scale or given.zero != steps.zero:
            # Moves to the grid of the result come before, where all parts stand on grids.
            raise no_kernel(sheet.network, step)
    shape = sheet.network.shapes[step.name]
    dim = cast("int", step.argument("dim"))
    held = sheet.read(step, cast("tuple[Ref, ...]", step.args[0])[0])
    joined = sheet.run(Joined(along(dim, held)), parts, placed(shape), steps, step)
    sheet.keep(step, joined)


def _slice(sheet: Sheet, step: Step) -> None:
    """Entries side by side along one dimension."""
    if step.argument("step") != 1:
        raise refused(
            step, "takes every few entries", "pool or convolve with a stride in its place"
        )
    held = sheet.rounded(step, step.args[0])
    dim = cast("int", step.argument("dim"))
    size = held.shape[dim]
    start = cast("int", step.argument("start") or 0)
    first = max(start + size if start < 0 else start, 0)
    behind = first + sheet.network.shapes[step.name][dim]
    number = sheet.wanted(step, step.args[0])
    sheet.keep(step, sheet.part(number, along(dim, held), (first, behind), step))


def _turn(sheet: Sheet, step: Step) -> None:
    """A permutation: other names for the dimensions of the same memory."""
    held = sheet.read(step, step.args[0])
    order = sheet.order(held, channels_last(held.shape), placed(held.shape))
    dims = list(range(len(held.shape)))
    if packet(step) is aten.permute:
        dims = [cast("int", d) % len(dims) for d in step.args[1]]
    else:
        one, other = (cast("int", d) % len(dims) for d in step.args[1:3])
        dims[one], dims[other] = other, one
    sheet.keep(step, held.tensor, turned(held, order, dims))


def _pool(sheet: Sheet, step: Step) -> None:
    """A max-pool over one or two dimensions."""
    network = sheet.network
    dims = 2 if packet(step) is aten.max_pool2d else 1
    given: list[tuple[int, ...]] = []
    for name in ("kernel_size", "stride", "padding", "dilation"):
        value: Value = step.argument(name) or step.argument("kernel_size")
        value = step.argument(name) if name in ("padding", "dilation") else value
        each = tuple(value) if isinstance(value, list | tuple) else (value,)
        fill = 0 if name == "padding" else 1
        given.append((fill,) * (2 - dims) + each * (dims if len(each) == 1 else 1))
    window, stride, padding, dilation = given
    if dilation != (1, 1):
        raise refused(step, "pools with a dilation", "leave it out")
    number = sheet.wanted(step, step.args[0])
    shape = placed(network.shapes[step.name])
    inputs = sheet.entry(number).shape
    each_edge = [
        Edge(inputs[d + 1], shape[d + 1], window[d], stride[d], 1, padding[d]) for d in range(2)
    ]
    found = edges(each_edge)
    steps = sheet.steps(number)
    if not found.plain:
        if steps.zero != -128:
            raise refused(step, "pads values of both signs", "put it behind the ReLU, or pad less")
        number = sheet.padded(number, found.pads, step)
    operation = MaxPool((window[0], window[1]), (stride[0], stride[1]), found.same)
    sheet.keep(step, sheet.run(operation, (number,), shape, steps, step))
