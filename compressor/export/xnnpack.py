"""Integer layers as XNNPACK is told of them: numbers that are quantised and dequantised in between.

XNNPACK, the library behind ExecuTorch on phones, recognises an operation between dequantised inputs
and a quantised output, and runs one kernel of 8-bit integers in its place. So each value on a grid
is written as integers and back, also behind operations that merely move it: a view between two
layers would otherwise be taken out of the pattern, and what is left of it computes something else.
"""

from __future__ import annotations

import importlib
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.network import Network, Ref, Rewrite, Step, Weight, packet
from compressor.network.integer import (
    Geometry,
    IntConv,
    IntLinear,
    IntMean,
    IntTransposed,
    Requantise,
)
from compressor.network.sums import IntSum
from compressor.quantization.chains import only_reader
from compressor.quantization.grids import wraps
from compressor.quantization.place import only_moves

aten = torch.ops.aten

PLACE = "xnnpack"
"""Branch of a network that holds its layers in this form."""


def decomposed() -> Any:
    """PyTorch's names for quantising and dequantising, which torchao brings.

    Raises:
        ImportError: If torchao is missing.
    """
    try:
        importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")  # registers them
    except ImportError as error:
        raise ImportError(
            f"networks for XNNPACK need torchao ({error}): pip install 'compressor-nn[executorch]'"
        ) from error
    return torch.ops.quantized_decomposed


class Rounded(nn.Module):
    """A move to a grid of signed integers, and back to numbers.

    XNNPACK knows signed activations alone: unsigned ones are moved by 128, zero point and all.

    Args:
        given: The same in the integer reference.
    """

    def __init__(self, given: Requantise) -> None:
        super().__init__()
        grid = given.grid
        moved = 0 if grid.dtype is torch.int8 else 128
        ends = (grid.low - moved, grid.high - moved)
        self.grid = (float(given.scale), grid.zero - moved, *ends, torch.int8)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, which is kept."""
        names = decomposed()
        return names.dequantize_per_tensor(names.quantize_per_tensor(x, *self.grid), *self.grid)


class _Weighted(nn.Module):
    """Content of layers with a weight: int8 numbers, a positive scale for each output, a bias."""

    stored: Tensor
    scale: Tensor
    zeros: Tensor
    bias: Tensor

    def __init__(self, given: IntConv | IntLinear, weight: Tensor) -> None:
        super().__init__()
        sign = given.scale.sign().to(torch.int8).view(-1, *[1] * (weight.dim() - 1))
        self.register_buffer("stored", weight * sign)
        self.register_buffer("scale", given.scale.abs())
        self.register_buffer("zeros", torch.zeros(len(weight), dtype=torch.int64))
        self.register_buffer("bias", float_bias(given))

    def weight(self) -> Tensor:
        """The weight in numbers, of the shape it is stored in."""
        limits = (-127, 127, torch.int8)
        names = decomposed()
        return names.dequantize_per_channel(self.stored, self.scale, self.zeros, 0, *limits)


class Conv(_Weighted):
    """A convolution whose scales do not tell sub-bands apart.

    Args:
        given: The layer of the integer reference.
        weight: Its int8 weight.
    """

    def __init__(self, given: IntConv, weight: Tensor) -> None:
        super().__init__(given, weight)
        self.geometry = given.geometry

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, frequency, time) or (batch, channel, time)."""
        return _convolved(x, self.weight(), self.bias, self.geometry)


class Linear(_Weighted):
    """A matrix product.

    Args:
        given: The layer of the integer reference.
        weight: Its int8 weight.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return functional.linear(x, self.weight(), self.bias)


class Floating(nn.Module):
    """A convolution or matrix product on its integers, in floating point.

    XNNPACK has no integer kernel for one with its own scales in every sub-band (depthwise mostly,
    of few weights), in three dimensions or transposed, and none whose sums 32 bits may not hold.

    Args:
        given: The layer of the integer reference.
        weight: Its int8 weight.
        shape: Of its result.
    """

    stored: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, given: IntConv | IntLinear, weight: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.product = given.product
        self.register_buffer("stored", weight.float())
        self.register_buffer("scale", given.spread(given.scale, shape, weight.dim()))
        self.register_buffer("bias", given.spread(float_bias(given), shape, weight.dim()))

    def forward(self, x: Tensor) -> Tensor:
        """An input of the layer -> its result."""
        return self.product(x, self.stored) * self.scale + self.bias


class Mean(nn.Module):
    """Average pooling with an explicit window, which XNNPACK has a kernel for.

    Args:
        given: The same in the integer reference.
    """

    def __init__(self, given: IntMean) -> None:
        super().__init__()
        self.over = given.windows.plane()
        self.flat = len(given.windows.size) == 1

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, ...), with one or two dimensions to average."""
        plane = x.unsqueeze(2) if self.flat else x
        means = functional.avg_pool2d(plane, self.over.size, self.over.stride, self.over.padding)
        return means.squeeze(2) if self.flat else means


def written(network: Network) -> Network:
    """A network of integers in the form that XNNPACK recognises; others come back as they are.

    Args:
        network: From `compressor.quantization.conversion`.
    """
    rewrite = Rewrite(network)
    grids: dict[str, str] = {}  # of results that stand on a grid: the module that puts them there
    for step in network.steps:
        called = network.called(step)
        module = None if called is None else _module(network, step, called)
        if module is not None:
            op = rewrite.add(f"{PLACE}.{step.name}", module)
            rewrite.edit(step.name, op=op, args=step.args[:1])
            grids |= {step.name: op} if isinstance(module, Rounded) else {}
        elif isinstance(called, IntSum):
            rewrite.edit(step.name, op=aten.add.Tensor, args=step.args[:2])
        elif packet(step) is aten.squeeze:  # of which XNNPACK knows the general form alone
            sizes = (-1, *network.shapes[step.name][1:])
            rewrite.edit(step.name, op=aten.reshape.default, args=(step.args[0], sizes), kwargs={})
        elif packet(step) is aten.cat:
            _join(network, rewrite, step)
    for step in network.steps:
        if only_moves(step) and _source(step) in grids:
            grids[step.name] = grids[_source(step)]
            rewrite.insert_after(step.name, grids[step.name])
    return rewrite.build()


def float_bias(given: IntConv | IntLinear) -> Tensor:
    """The bias of a layer in numbers, of the shape of its scales."""
    if given.bias.is_floating_point():
        return given.bias
    return given.bias * (given.input_scale * given.scale.abs())


def _module(network: Network, step: Step, called: nn.Module) -> nn.Module | None:
    """The stand-in of a module of the integer reference; None where it stays."""
    if isinstance(called, Requantise):
        return Rounded(called)
    if isinstance(called, IntMean):
        return Mean(called)
    if not isinstance(called, IntConv | IntLinear):
        return None
    weight = network.tensor(cast("Weight", step.args[1]))
    if _without_kernel(network, step, called, weight):
        return Floating(called, weight, network.shapes[step.name])
    return Linear(called, weight) if isinstance(called, IntLinear) else Conv(called, weight)


def _without_kernel(
    network: Network, step: Step, called: IntConv | IntLinear, weight: Tensor
) -> bool:
    """True if XNNPACK has no integer kernel for a layer."""
    odd = isinstance(called, IntTransposed) or called.scale.dim() > 1 or weight.dim() > 4
    return odd or wraps(network, step, called, weight)


def _join(network: Network, rewrite: Rewrite, step: Step) -> None:
    """Move what is put together to the result's grid first: XNNPACK joins equal grids alone."""
    reader = only_reader(network, step.name)
    if reader is not None and isinstance(network.called(reader), Requantise):
        parts: list[Ref] = []
        for number, part in enumerate(cast("tuple[Ref, ...]", step.args[0])):
            call = Step(f"{step.name}_{number}", f"{PLACE}.{reader.name}", (part,))
            parts.append(rewrite.insert_before(step.name, call))
        rewrite.edit(step.name, args=(tuple(parts), *step.args[1:]))


def _source(step: Step) -> str:
    """Name of what a step moves; empty where that is no result."""
    first = step.args[0] if step.args else None
    return first.name if isinstance(first, Ref) else ""


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, moves: Geometry) -> Tensor:
    convolve: Any = functional.conv1d if weight.dim() == 3 else functional.conv2d
    return convolve(x, weight, bias, moves.stride, moves.padding, moves.dilation, moves.groups)
