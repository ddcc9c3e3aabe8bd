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
from functools import wraps
from typing import Any, Concatenate, ParamSpec

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
        """Nothing written yet; `onnx` is the package, `prefix` what all names begin with."""
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
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], **attributes))
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

P = ParamSpec("P")


def _later(write: Callable[Concatenate[Writer, str, P], str]) -> Callable[P, Write]:
    """Take the settings now, the writer and the name of what is read when it is written."""

    @wraps(write)
    def given(*args: P.args, **kwargs: P.kwargs) -> Write:
        return lambda writer, x: write(writer, x, *args, **kwargs)

    return given


@_later
def on_grid(writer: Writer, x: str, module: Requantise) -> str:
    """A move to a grid and back to numbers."""
    zero = torch.tensor(module.grid.zero, dtype=module.grid.dtype)
    scale = (writer.constant(module.scale), writer.constant(zero))
    steps = writer.node("QuantizeLinear", (x, *scale))
    return writer.node("DequantizeLinear", (steps, *scale))


@_later
def convolution(writer: Writer, x: str, module: IntConv, weight: Tensor) -> str:
    """A convolution whose scales do not tell sub-bands apart."""
    stored = _stored(writer, weight, module.bias, module.scale, module.input_scale)
    return writer.node("Conv", (x, *stored), **_moves(module.geometry))


@_later
def product(writer: Writer, x: str, module: IntLinear, weight: Tensor, rank: int) -> str:
    """A matrix product of an input of `rank` dimensions, the last of which is multiplied.

    Gemm, which adds the bias to whole numbers, takes two dimensions; MatMul takes any, and the bias
    is added to its result.
    """
    numbers, bias = _stored(writer, weight, module.bias, module.scale, module.input_scale)
    if rank == 2:
        return writer.node("Gemm", (x, numbers, bias), transB=1)
    turned = writer.node("Transpose", (numbers,), perm=(1, 0))
    return writer.node("Add", (writer.node("MatMul", (x, turned)), bias))


@_later
def floating(
    writer: Writer, x: str, module: IntConv | IntLinear, weight: Tensor, shape: tuple[int, ...]
) -> str:
    """A layer on its int8 weight in floating point, as the reference computes it.

    For what runtimes have no integer kernel for, and for sums that 32 bits might not hold. `shape`
    is that of its result.
    """
    scale, bias = (module.spread(t, shape, weight.dim()) for t in (module.scale, module.bias))
    factor = module.input_scale * scale
    steps = writer.node("Div", (x, writer.constant(module.input_scale)))
    steps = writer.node("Round", (steps,))
    sums = _sums(writer, module, steps, _weight(writer, weight, torch.ones(len(weight))))
    if bias.is_floating_point():
        times = writer.node("Mul", (sums, writer.constant(factor)))
        return writer.node("Add", (times, writer.constant(bias)))
    whole = writer.node("Add", (sums, writer.constant((bias * scale.sign()).float())))
    return writer.node("Mul", (whole, writer.constant(factor)))


@_later
def alone(writer: Writer, x: str, write: Write) -> str:
    """A convolution of an input without a batch dimension, which ONNX asks for."""
    first = writer.constant(np.array([0], dtype=np.int64))
    result = write(writer, writer.node("Unsqueeze", (x, first)))
    return writer.node("Squeeze", (result, first))


@_later
def mean(writer: Writer, x: str, module: IntMean) -> str:
    """Average pooling with an explicit window."""
    over = module.windows
    return writer.node(
        "AveragePool", (x,), kernel_shape=over.size, strides=over.stride,
        pads=(*over.padding, *over.padding), count_include_pad=1,
    )  # fmt: skip


@_later
def scaled(writer: Writer, x: str, module: Scale, shape: tuple[int, ...]) -> str:
    """A gain and a shift, in floating point; `shape` is that of the input."""
    gain, shift = (module.rows(t, shape)[None] for t in (module.gain, module.shift))
    times = writer.node("Mul", (x, writer.constant(gain)))
    return writer.node("Add", (times, writer.constant(shift)))


@dataclass(frozen=True)
class Slab:
    """The rows that one sub-band of an output is computed from.

    `rows` are the first of the input and the one behind the last, `padding` zeros above and below.
    """

    rows: tuple[int, int]
    padding: tuple[int, int]


def slabs(geometry: Geometry, kernel: int, inputs: int, bands: int) -> tuple[Slab, ...]:
    """The slab of every sub-band of an output of a convolution, `bands` that are equally high.

    The first dimension of the geometry is split; the kernel has `kernel` entries along it, and the
    input has `inputs` rows.
    """
    stride, padding = geometry.stride[0], geometry.padding[0]
    reach = (kernel - 1) * geometry.dilation[0]
    outputs = (inputs + 2 * padding - reach - 1) // stride + 1
    rows = outputs // bands
    found: list[Slab] = []
    for band in range(bands):
        first = band * rows * stride - padding
        behind = first + (rows - 1) * stride + reach + 1
        inside = max(first, 0), min(behind, inputs)
        found.append(Slab(inside, (inside[0] - first, behind - inside[1])))
    return tuple(found)


@_later
def limits(writer: Writer, x: str, low: float | None, high: float | None) -> str:
    """A cut below and above, None for none; a ReLU where zero is the one limit."""
    if (low, high) == (0, None):
        return writer.node("Relu", (x,))
    ends = (e if e is None else np.array(e, dtype=np.float32) for e in (low, high))
    return writer.node("Clip", (x, *("" if e is None else writer.constant(e) for e in ends)))


@_later
def bands(
    writer: Writer,
    x: str,
    module: IntConv,
    weight: Tensor,
    found: Sequence[Slab],
    grid: Requantise,
    cuts: Sequence[tuple[float | None, float | None]],
) -> str:
    """A convolution with its own scales in every sub-band: one for each, put together.

    Each result is cut to its limits (`cuts`, in order; see `limits`) and moved to the output's grid
    before it is put together, or a runtime would put together floating-point numbers. `found` is
    from `slabs`, `grid` the next quantiser.
    """
    columns = list(zip(module.bias.unbind(1), module.scale.unbind(1), strict=True))
    others = module.geometry.padding[1:]
    parts: list[str] = []
    for slab, (bias, scale) in zip(found, columns, strict=True):
        stored = _stored(writer, weight, bias, scale, module.input_scale)
        ends = (writer.constant(np.array([n], dtype=np.int64)) for n in (*slab.rows, 2))
        rows = writer.node("Slice", (x, *ends))
        pads = [end for height in slab.padding for end in (height, *others)]
        moves = {**_moves(module.geometry), "pads": pads}
        part = writer.node("Conv", (rows, *stored), **moves)
        for cut in cuts:
            part = limits(*cut)(writer, part)
        parts.append(on_grid(grid)(writer, part))
    return writer.node("Concat", parts, axis=2)


def _sums(writer: Writer, module: IntConv | IntLinear, x: str, weight: str) -> str:
    """The plain operation of a layer, without its bias."""
    if isinstance(module, IntLinear):
        turned = writer.node("Transpose", (weight,), perm=(1, 0))
        return writer.node("MatMul", (x, turned))
    moves, more = _moves(module.geometry), module.geometry.more
    if more is None:
        return writer.node("Conv", (x, weight), **moves)
    return writer.node("ConvTranspose", (x, weight), **moves, output_padding=more)


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
    numbers, origin = (writer.constant(part, shared=not signed) for part in (moved, zeros))
    return writer.node("DequantizeLinear", (numbers, writer.constant(scale), origin), axis=0)


def largest(weight: Tensor) -> int:
    """The largest magnitude of an int8 weight."""
    return int(weight.to(torch.int16).abs().max())


def _moves(geometry: Geometry) -> Mapping[str, Attribute]:
    return {
        "pads": [*geometry.padding, *geometry.padding],
        "strides": geometry.stride,
        "dilations": geometry.dilation,
        "group": geometry.groups,
    }
