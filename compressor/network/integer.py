"""The layers of the integer reference: exact sums of whole numbers, then one scale.

Values between layers are floating-point numbers on a grid, so that everything else in a network
(ReLU, pooling, views) runs as it is. A layer takes the whole numbers out, adds them up exactly and
multiplies by its scales once: the result does not depend on the batch, the order of the sums, the
machine, or autocast.

Exact are single precision below 2^24, and double. On a CPU convolutions add products up as they
are; other libraries may transform them first (Winograd, Fourier), so that there sums are made in
double precision and rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor
from torch.backends import nnpack
from torch.nn import functional

from compressor.counting.stored import Integral, Role
from compressor.inputs.process import SwitchedOff
from compressor.network.grid import EXACT, Grid, Integers, quantised, wide

_without_nnpack = SwitchedOff(lambda enabled: nnpack.set_flags(enabled)[0])


@dataclass(frozen=True)
class Geometry:
    """The moves of a convolution; one number for each dimension of its kernel.

    Attributes:
        stride: Steps between outputs.
        padding: Zeros on both sides.
        dilation: Steps between the kernel's entries.
        groups: Groups of channels.
        more: Entries at the end of a transposed convolution's result beside those that its input
            reaches; None for any other convolution.
    """

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    more: tuple[int, ...] | None = None

    def size(self, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """The size of the result of a kernel on an input of some size, dimension by dimension."""
        moves = zip(sizes, kernel, self.stride, self.padding, self.dilation, strict=True)
        if self.more is None:
            return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in moves)
        longer = ((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in moves)
        return tuple(size + more for size, more in zip(longer, self.more, strict=True))


_Convolve = Callable[..., Tensor]
_CONVOLVE: tuple[_Convolve, ...] = functional.conv1d, functional.conv2d, functional.conv3d
_TRANSPOSED: tuple[_Convolve, ...] = (
    *(functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d),
)
"""By the number of a kernel's dimensions, one less."""


class Requantise(Integral):
    """Moves values to a grid of steps worth `scale`, (): the converted `ActivationQuantiser`."""

    scale: Tensor
    roles = MappingProxyType({"scale": Role.SCALE})

    def __init__(self, scale: Tensor, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("scale", scale.detach().clone().float())

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, which is kept; float32."""
        return quantised(wide(x), self.scale, self.grid)


class Layer(Integral):
    """Sums and scales, which all layers with weights share.

    Attributes:
        large: True if sums may leave what single precision holds exactly.
    """

    input_scale: Tensor
    """The worth of one step of the input, ()."""
    scale: Tensor
    """The worth of one step of the weights, times the gain that follows; see `Integers`."""
    bias: Tensor
    """Added to the sums where it is int32, to the results where it is float32."""
    roles = MappingProxyType({"input_scale": Role.SCALE, "scale": Role.SCALE, "bias": Role.BIAS})

    def __init__(self, integers: Integers, input_scale: Tensor) -> None:
        """Everything but the weight: it may belong to several layers and is passed to each call."""
        super().__init__()
        self.large = integers.large
        self.register_buffer("input_scale", input_scale.detach().clone().float())
        self.register_buffer("scale", integers.scale)
        self.register_buffer("bias", integers.bias)

    def _sums(
        self, x: Tensor, weight: Tensor, product: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        on_cpu = x.device.type == "cpu"
        dtype = torch.float64 if self.large or not on_cpu else torch.float32
        steps = (wide(x) / self.input_scale).round_().to(dtype)
        # No autocast, and no library that transforms single precision on a CPU.
        with torch.autocast(x.device.type, enabled=False), _without_nnpack():
            sums = product(steps, weight.to(dtype))
        return sums if on_cpu else sums.round_()

    def _values(
        self, sums: Tensor, scale: Tensor, bias: Tensor, output_scale: Tensor | None
    ) -> Tensor:
        """Sums times scale, with the bias where it belongs; both in a shape that broadcasts.

        With an output scale, whole steps of it: one factor, one rounding, as in a kernel.
        """
        factor = self.input_scale * scale
        if bias.is_floating_point():
            return sums.float() * factor + bias
        # The bias counts steps of the absolute scale, the sums those of the signed one.
        whole = sums.add_(bias.to(sums.dtype) * scale.sign()).float()
        if output_scale is None:
            return whole.mul_(factor)
        return whole.mul_(factor / output_scale).round_().mul_(output_scale)


class IntConv(Layer):
    """Convolution of whole numbers, with the normalisation behind it in its scales.

    Args:
        geometry: How the convolution moves.
        integers: From `compressor.quantization.folding.fold`; its weight is not kept.
        input_scale: Scale of the input's grid, of shape ().
    """

    def __init__(self, geometry: Geometry, integers: Integers, input_scale: Tensor) -> None:
        super().__init__(integers, input_scale)
        self.geometry = geometry

    def forward(self, x: Tensor, weight: Tensor, output_scale: Tensor | None = None) -> Tensor:
        """Convolve.

        Args:
            x: Values on the input's grid, (batch, channel, ...), with as many more dimensions as
                the kernel has, one to three; or (channel, ...).
            weight: int8, (outputs, channels / groups, kernel...).
            output_scale: What one step of the result is worth, (); None leaves it unrounded.

        Returns:
            float32 (batch, outputs, ...), or (outputs, ...). Scales of (outputs, sub_bands) split
            the first dimension behind the channels, frequency, evenly.
        """
        sums = self._sums(x, weight, self.product)
        shape = sums.shape
        if self.scale.dim() == 2:
            sums = sums.unflatten(2, (self.scale.shape[1], -1))
        more = [1] * (sums.dim() - (x.dim() == weight.dim()) - self.scale.dim())
        scale, bias = (t.view(*t.shape, *more) for t in (self.scale, self.bias))
        return self._values(sums, scale, bias, output_scale).view(shape)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The plain operation, without scales and bias."""
        g = self.geometry
        convolve = _CONVOLVE[weight.dim() - 3]
        return convolve(x, weight, None, g.stride, g.padding, g.dilation, g.groups)

    def spread(self, values: Tensor, shape: tuple[int, ...], kernel: int) -> Tensor:
        """Values of channels, (outputs,) or (outputs, sub_bands), to broadcast over a result.

        `shape` is the result's, with a batch or without; `kernel` counts the weight's dimensions.
        """
        return Scale.rows(values, (1, *shape[len(shape) - kernel + 1 :]))


class IntTransposed(IntConv):
    """Transposed convolution of whole numbers: the same, on weights with their inputs first.

    ONNX Runtime and XNNPACK have no integer kernel for it: what is exported holds its integers and
    adds them up in floating point, as this does.
    """

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The plain operation, without scales and bias."""
        g, convolve = self.geometry, _TRANSPOSED[weight.dim() - 3]
        more = cast("tuple[int, ...]", g.more)
        return convolve(x, weight, None, g.stride, g.padding, more, g.groups, g.dilation)


class IntLinear(Layer):
    """Matrix product of whole numbers; arguments as of `IntConv`."""

    def forward(self, x: Tensor, weight: Tensor, output_scale: Tensor | None = None) -> Tensor:
        """(..., inputs) on the input's grid, int8 (outputs, inputs) -> float32 (..., outputs).

        Whole steps of the output scale, (), if one is given.
        """
        sums = self._sums(x, weight, self.product)
        return self._values(sums, self.scale, self.bias, output_scale)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The plain operation, without scales and bias."""
        return functional.linear(x, weight)

    def spread(self, values: Tensor, shape: tuple[int, ...], kernel: int) -> Tensor:  # noqa: ARG002
        """Values of outputs, (outputs,), which broadcast over a result as they are."""
        return values


@dataclass(frozen=True)
class Windows:
    """What average pooling averages; one number for each dimension, one or two.

    Attributes:
        size: Entries of a window.
        stride: Steps from one window to the next.
        padding: Zeros on both sides, which count as entries.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    @classmethod
    def beside(cls, *size: int) -> Windows:
        """Windows that lie side by side."""
        return cls(size, size, (0,) * len(size))

    @property
    def entries(self) -> int:
        """Of one window in all."""
        return math.prod(self.size)

    @property
    def moves(self) -> Geometry:
        """How a convolution that adds up the same entries moves."""
        return Geometry(self.stride, self.padding, (1,) * len(self.size))

    def plane(self) -> Windows:
        """The same over two dimensions, the first of one entry where there is one alone."""
        first = 2 - len(self.size)
        ones, none = (1,) * first, (0,) * first
        return Windows((*ones, *self.size), (*ones, *self.stride), (*none, *self.padding))


class IntMean(Integral):
    """Means of whole numbers over windows: average pooling.

    Adaptive pooling and means over dimensions are such, at the sizes a network was made for.

    Args:
        windows: Over the last dimensions, one or two.
        input_scale: Scale of the input's grid, of shape ().
    """

    input_scale: Tensor
    roles = MappingProxyType({"input_scale": Role.SCALE})

    def __init__(self, windows: Windows, input_scale: Tensor) -> None:
        super().__init__()
        self.windows = windows
        self.register_buffer("input_scale", input_scale.detach().clone().float())

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, ...) on the input's grid -> float32 means, windows for entries."""
        return self.sums(x).float() * (self.input_scale / self.windows.entries)

    def sums(self, x: Tensor) -> Tensor:
        """Sums of whole steps over every window, exact."""
        steps = (wide(x) / self.input_scale).round_()
        steps = steps.double() if self.windows.entries * 255 >= EXACT else steps
        over = self.windows.plane()  # (batch, channel, time) is pooled as one
        return functional.avg_pool2d(
            steps, over.size, over.stride, over.padding, divisor_override=1
        )


class Scale(Integral):
    """A gain and a shift for each channel: normalisation that follows no layer, in floating point.

    Both (channels,), or (channels, sub_bands) where sub-bands of frequency differ.
    """

    gain: Tensor
    shift: Tensor
    roles = MappingProxyType({"gain": Role.NORM, "shift": Role.NORM})

    def __init__(self, gain: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("gain", gain.float())
        self.register_buffer("shift", shift.float())

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, ...); shape is kept. Sub-bands split the first of the rest evenly."""
        gain, shift = (self.rows(t, tuple(x.shape)) for t in (self.gain, self.shift))
        return wide(x) * gain + shift

    @staticmethod
    def rows(values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Values shaped to broadcast over `shape`, those of sub-bands repeated for their rows."""
        if values.dim() == 2:
            values = values.repeat_interleave(shape[2] // values.shape[1], dim=1)
        return values.view(*values.shape, *[1] * (len(shape) - 1 - values.dim()))
