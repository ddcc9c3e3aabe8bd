"""Integer layers as ONNX writes them: QuantizeLinear, DequantizeLinear and the plain operation.

Runtimes recognise the pattern and run one integer kernel in its place. Values between layers are
written as floating-point numbers on a grid, as they are in the reference.

Weights beyond `SAFE` are unsigned where activations are, int8 moved by 128: what multiplies
unsigned activations by signed weights cuts sums off at 16 bits on x86 CPUs without VNNI
(`compressor.quantization.presets`). Smaller weights are signed, as CPUs with VNNI are faster then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.network.integer import Geometry, IntConv, IntLinear, IntMean, Requantise, Scale

Attribute = int | Sequence[int]

SAFE = 64
"""Largest signed weight of which two products with 255 fit into 16 bits."""

UNSIGNED_ZERO = 128
"""The integer that stands for 0 in an unsigned weight."""


class Writer:
    """The nodes and constants of a part of an ONNX graph.

    Attributes:
        nodes: `NodeProto`, in order.
        constants: `TensorProto`, each once but for signed weights.
        signed: True if all weights are written as int8; else those are that are safe, and others as
            uint8 with zero point 128.
    """

    def __init__(self, onnx: Any, *, signed: bool = False, prefix: str = "q") -> None:
        """Nothing written yet.

        Args:
            onnx: The package.
            signed: True if all weights are written as int8.
            prefix: What all names begin with.
        """
        self._onnx = onnx
        self._prefix = prefix
        self.signed = signed
        self._count = 0
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Tensor | NDArray[Any], *, shared: bool = True) -> str:
        """Name of a constant, the same for equal ones unless it is not to be shared."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        key = (array.dtype.str, array.shape, array.tobytes())
        if shared and key in self._known:
            return self._known[key]
        name = self._fresh()
        self.constants.append(self._onnx.numpy_helper.from_array(array, name))
        if shared:
            self._known[key] = name
        return name

    def node(self, kind: str, inputs: Sequence[str], **attributes: Attribute) -> str:
        """Add a node; returns the name of its result."""
        name = self._fresh()
        made = self._onnx.helper.make_node(kind, list(inputs), [name], **attributes)
        self.nodes.append(made)
        return name

    def end(self, result: str, name: str) -> None:
        """Give the last node's result the name that others read it by."""
        last = self.nodes[-1]
        if last.output[0] != result:
            raise ValueError(f"{result!r} is not what was written last")
        last.output[0] = name

    def _fresh(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count}"


Write = Callable[[Writer, str], str]
"""Writes a module that reads the result of a name; returns the name of its own result."""


def on_grid(module: Requantise) -> Write:
    """A move to a grid and back to numbers."""
    zero = torch.tensor(module.grid.zero, dtype=module.grid.dtype)

    def write(writer: Writer, x: str) -> str:
        scale = (writer.constant(module.scale), writer.constant(zero))
        steps = writer.node("QuantizeLinear", (x, *scale))
        return writer.node("DequantizeLinear", (steps, *scale))

    return write


def convolution(module: IntConv, weight: Tensor) -> Write:
    """A convolution whose scales do not tell sub-bands apart."""

    def write(writer: Writer, x: str) -> str:
        stored = _stored(writer, weight, module.bias, module.scale, module.input_scale)
        padding = module.geometry.padding
        return writer.node("Conv", (x, *stored), **_moves(module.geometry, padding, padding))

    return write


def product(module: IntLinear, weight: Tensor, rank: int) -> Write:
    """A matrix product of an input of `rank` dimensions, the last of which is multiplied.

    Gemm, which adds the bias to whole numbers, takes two dimensions; MatMul takes any, and the bias
    is added to its result.
    """

    def write(writer: Writer, x: str) -> str:
        numbers, bias = _stored(writer, weight, module.bias, module.scale, module.input_scale)
        if rank == 2:
            return writer.node("Gemm", (x, numbers, bias), transB=1)
        turned = writer.node("Transpose", (numbers,), perm=(1, 0))
        return writer.node("Add", (writer.node("MatMul", (x, turned)), bias))

    return write


def floating(module: IntConv | IntLinear, weight: Tensor, shape: tuple[int, ...]) -> Write:
    """A layer on its integers in floating point, as the reference computes it.

    For what runtimes have no integer kernel for, and for sums that 32 bits might not hold.

    Args:
        module: The layer.
        weight: Its int8 weight, of any layout.
        shape: Of its result.
    """
    scale, bias = (module.spread(t, shape, weight.dim()) for t in (module.scale, module.bias))
    factor = module.input_scale * scale

    def write(writer: Writer, x: str) -> str:
        steps = writer.node("Div", (x, writer.constant(module.input_scale)))
        steps = writer.node("Round", (steps,))
        numbers = _weight(writer, weight, torch.ones(len(weight)))
        sums = _sums(writer, module, steps, numbers)
        if bias.is_floating_point():
            times = writer.node("Mul", (sums, writer.constant(factor)))
            return writer.node("Add", (times, writer.constant(bias)))
        whole = writer.node("Add", (sums, writer.constant((bias * scale.sign()).float())))
        return writer.node("Mul", (whole, writer.constant(factor)))

    return write


def alone(write: Write) -> Write:
    """A convolution of an input without a batch dimension, which ONNX asks for."""

    def lifted(writer: Writer, x: str) -> str:
        first = writer.constant(np.array([0], dtype=np.int64))
        result = write(writer, writer.node("Unsqueeze", (x, first)))
        return writer.node("Squeeze", (result, first))

    return lifted


def mean(module: IntMean) -> Write:
    """Average pooling with an explicit window."""

    def write(writer: Writer, x: str) -> str:
        window, stride = module.window, module.stride
        return writer.node("AveragePool", (x,), kernel_shape=window, strides=stride)

    return write


def scaled(module: Scale, shape: tuple[int, ...]) -> Write:
    """A gain and a shift, in floating point; `shape` is that of the input."""

    def write(writer: Writer, x: str) -> str:
        gain, shift = (module.rows(t, shape)[None] for t in (module.gain, module.shift))
        times = writer.node("Mul", (x, writer.constant(gain)))
        return writer.node("Add", (times, writer.constant(shift)))

    return write


@dataclass(frozen=True)
class Slab:
    """The rows that one sub-band of an output is computed from.

    Attributes:
        rows: First row of the input and the one behind the last.
        padding: Zeros above and below.
    """

    rows: tuple[int, int]
    padding: tuple[int, int]


def slabs(geometry: Geometry, kernel: int, inputs: int, bands: int) -> tuple[Slab, ...]:
    """The slab of every sub-band.

    Args:
        geometry: How the convolution moves; its first dimension is split.
        kernel: Entries of the kernel along it.
        inputs: Rows of the input.
        bands: Sub-bands of the output, which are equally high.
    """
    stride, padding = geometry.stride[0], geometry.padding[0]
    reach = (kernel - 1) * geometry.dilation[0]
    outputs = (inputs + 2 * padding - reach - 1) // stride + 1
    rows = outputs // bands
    found: list[Slab] = []
    for band in range(bands):
        first = band * rows * stride - padding
        behind = (band * rows + rows - 1) * stride - padding + reach + 1
        inside = max(first, 0), min(behind, inputs)
        found.append(Slab(inside, (inside[0] - first, behind - inside[1])))
    return tuple(found)


def limits(low: float | None, high: float | None) -> Write:
    """A cut below and above, None for none; a ReLU where zero is the one limit."""

    def write(writer: Writer, x: str) -> str:
        if (low, high) == (0, None):
            return writer.node("Relu", (x,))
        ends = (e if e is None else np.array(e, dtype=np.float32) for e in (low, high))
        return writer.node("Clip", (x, *("" if e is None else writer.constant(e) for e in ends)))

    return write


def bands(
    module: IntConv,
    weight: Tensor,
    found: Sequence[Slab],
    grid: Requantise,
    cuts: Sequence[tuple[float | None, float | None]],
) -> Write:
    """A convolution with its own scales in every sub-band: one for each, put together.

    Each result is moved to the output's grid before it is put together, or a runtime would put
    together floating-point numbers.

    Args:
        module: The layer.
        weight: Its int8 weight.
        found: Of every sub-band, from `slabs`.
        grid: Where its output goes, the next quantiser.
        cuts: What comes before that, in order; see `limits`.
    """
    columns = list(zip(module.bias.unbind(1), module.scale.unbind(1), strict=True))
    others = module.geometry.padding[1:]

    def write(writer: Writer, x: str) -> str:
        parts: list[str] = []
        for slab, (bias, scale) in zip(found, columns, strict=True):
            stored = _stored(writer, weight, bias, scale, module.input_scale)
            ends = (writer.constant(np.array([n], dtype=np.int64)) for n in (*slab.rows, 2))
            rows = writer.node("Slice", (x, *ends))
            above, below = slab.padding
            moves = _moves(module.geometry, (above, *others), (below, *others))
            part = writer.node("Conv", (rows, *stored), **moves)
            for cut in cuts:
                part = limits(*cut)(writer, part)
            parts.append(on_grid(grid)(writer, part))
        return writer.node("Concat", parts, axis=2)

    return write


def _sums(writer: Writer, module: IntConv | IntLinear, x: str, weight: str) -> str:
    """The plain operation of a layer, without its bias."""
    if isinstance(module, IntLinear):
        turned = writer.node("Transpose", (weight,), perm=(1, 0))
        return writer.node("MatMul", (x, turned))
    moves = dict(_moves(module.geometry, module.geometry.padding, module.geometry.padding))
    if module.geometry.more is None:
        return writer.node("Conv", (x, weight), **moves)
    return writer.node("ConvTranspose", (x, weight), **moves, output_padding=module.geometry.more)


def _stored(
    writer: Writer, weight: Tensor, bias: Tensor, scale: Tensor, input_scale: Tensor
) -> tuple[str, str]:
    """An int8 weight and its bias; negative scales change the weight's signs."""
    sign = scale.sign().to(torch.int8).view(-1, *[1] * (weight.dim() - 1))
    numbers = _weight(writer, weight * sign, scale.abs())
    if bias.is_floating_point():
        return numbers, writer.constant(bias)
    steps = writer.constant(bias), writer.constant(input_scale * scale.abs())
    return numbers, writer.node("DequantizeLinear", steps, axis=0)


def _weight(writer: Writer, integers: Tensor, scale: Tensor) -> str:
    """A weight: integers of -127 to 127 times the scale of each of their first dimension.

    The zero point of a signed weight could be left out as that of a bias is, but then ONNX Runtime
    runs matrix products in floating point. Signed weights and their zero points are not shared:
    ONNX Runtime's `session.x64quantprecision` puts unsigned ones in their place, one by one, and
    does not load a file in which two nodes read the same.
    """
    signed = writer.signed or largest(integers) <= SAFE
    zero, dtype = (0, torch.int8) if signed else (UNSIGNED_ZERO, torch.uint8)
    moved = (integers.to(torch.int16) + zero).to(dtype)
    zeros = torch.full_like(scale, zero, dtype=dtype)
    stored = (writer.constant(part, shared=not signed) for part in (moved, zeros))
    numbers, zeros_name = stored
    inputs = numbers, writer.constant(scale), zeros_name
    return writer.node("DequantizeLinear", inputs, axis=0)


def largest(weight: Tensor) -> int:
    """The largest magnitude of an int8 weight."""
    return int(weight.to(torch.int16).abs().max())


def _moves(
    geometry: Geometry, begins: Sequence[int], ends: Sequence[int]
) -> Mapping[str, Attribute]:
    """Attributes of Conv."""
    return {
        "pads": [*begins, *ends],
        "strides": geometry.stride,
        "dilations": geometry.dilation,
        "group": geometry.groups,
    }
