"""The layers of the integer reference as TensorFlow Lite Micro computes them.

Sums are the same whole numbers as in `compressor.network.integer`. What differs is how a sum comes
to the grid of the result: by a fixed-point factor and two roundings, where other runtimes have a
factor in single precision and one (`compressor.network.fixed_point`). So each layer is told the
grid that its result goes to, and the reference is the device's to the last step.

Every factor is made as that runtime makes it: in double precision, of scales in single precision.
"""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor

from compressor.counting.stored import Integral, Role
from compressor.network.fixed_point import scaled
from compressor.network.fixed_sigmoid import sigmoid_steps
from compressor.network.grid import wide
from compressor.network.integer import IntConv, IntLinear, IntMean, Layer, Scale
from compressor.network.sums import IntSum

FULL_WEIGHT = 127
"""Weight of every entry of a mean or a gain, which are written as depthwise convolutions: the
larger it is, the more bits are left before the second rounding."""

SIGMOID = 1 / 256
"""The worth of a step of a sigmoid's result, whose grid is no matter of choice."""

_LEFT = 1 << 20
"""Terms of a sum are made so much longer before they are brought to one scale."""


class FixedConv(IntConv):
    """Convolution of whole numbers; `output_scale` has to be given."""

    def _values(
        self, sums: Tensor, scale: Tensor, bias: Tensor, output_scale: Tensor | None
    ) -> Tensor:
        return _rounded(self.input_scale, sums, scale, bias, output_scale)


class FixedLinear(IntLinear):
    """Matrix product of whole numbers; `output_scale` has to be given."""

    def _values(
        self, sums: Tensor, scale: Tensor, bias: Tensor, output_scale: Tensor | None
    ) -> Tensor:
        return _rounded(self.input_scale, sums, scale, bias, output_scale)


class FixedMean(IntMean):
    """Means over windows: depthwise convolutions with equal weights, `FULL_WEIGHT`."""

    def forward(self, x: Tensor, output_scale: Tensor | None = None) -> Tensor:
        """(batch, channel, ...) on the input's grid -> float32, whole steps of the output's."""
        sums = self.sums(x).long().mul_(FULL_WEIGHT)
        unit = self.weight_scale.to(x.device).double()
        return _steps(sums, self.input_scale.double() * unit, output_scale)

    @property
    def weight_scale(self) -> Tensor:
        """What one step of the weight is worth, float32 ()."""
        return torch.tensor(1 / (FULL_WEIGHT * self.windows.entries))


class FixedScale(Layer):
    """A gain and a shift for each channel: a depthwise convolution of one weight each.

    All weights are those that `compressor.quantization.folding.fold` makes of ones.
    """

    roles = MappingProxyType(
        {"input_scale": Role.SCALE, "scale": Role.NORM, "bias": Role.NORM},
    )

    def forward(self, x: Tensor, output_scale: Tensor | None = None) -> Tensor:
        """(batch, channel, ...), which is kept; sub-bands split the first of the rest evenly."""
        scale, bias = (Scale.rows(t, tuple(x.shape)) for t in (self.scale, self.bias))
        sums = self._sums(x, torch.tensor(FULL_WEIGHT, device=x.device), torch.mul)
        return _rounded(self.input_scale, sums, scale, bias, output_scale)


class FixedSum(IntSum):
    """The sum of two values on grids."""

    def forward(self, x: Tensor, y: Tensor, *scales: Tensor) -> Tensor:
        """Add `x` and `y`, shapes that broadcast; scales of both and of the sum, () each.

        Returns:
            float32, whole steps of the third scale, not yet limited to its grid.
        """
        return _numbers(sum_steps(whole(x, scales[0]), whole(y, scales[1]), *scales), scales[2])


class FixedProduct(Integral):
    """The product of two values on grids, entry by entry."""

    def forward(self, x: Tensor, y: Tensor, *scales: Tensor) -> Tensor:
        """Multiply `x` by `y`; arguments and result as of `FixedSum`."""
        product = whole(x, scales[0]) * whole(y, scales[1])
        return _steps(product, scales[0].double() * scales[1].double(), scales[2])


class FixedSigmoid(Integral):
    """The sigmoid of values on a grid, in steps of `SIGMOID`."""

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        """Any shape; `scale` is that of `x`, ()."""
        table = sigmoid_steps(torch.arange(-255, 256, device=x.device), scale)
        return table[whole(x, scale).clamp(-255, 255) + 255].float() * SIGMOID


class FixedMove(Integral):
    """A move of values from one grid to another."""

    def forward(self, x: Tensor, source: Tensor, output_scale: Tensor) -> Tensor:
        """Any shape; the scales, (), are what steps are worth before and after.

        Returns:
            float32, whole steps of the second scale, not yet limited to its grid.
        """
        return _steps(whole(x, source), source.double(), output_scale)


def sum_steps(x: Tensor, y: Tensor, *scales: Tensor, minus: bool = False) -> Tensor:
    """The sum of whole steps, or what is left of `x`, in steps of the third scale.

    Args:
        x: int64.
        y: int64, a shape that broadcasts.
        scales: What a step is worth of `x`, of `y` and of the result, () each.
        minus: Take `y` away.
    """
    one, other, output = (scale.double() for scale in scales)
    twice = 2 * torch.maximum(one, other)
    first, second = scaled(x * _LEFT, one / twice), scaled(y * _LEFT, other / twice)
    return scaled(first - second if minus else first + second, twice / (_LEFT * output))


def whole(x: Tensor, scale: Tensor) -> Tensor:
    """Steps of values on a grid, int64."""
    return (wide(x) / scale).round_().long()


def _rounded(
    input_scale: Tensor, sums: Tensor, scale: Tensor, bias: Tensor, output_scale: Tensor | None
) -> Tensor:
    """Sums of a layer in whole steps of the output; weights of negative scales change signs."""
    signed = sums.long() * scale.sign().long() + bias.long()
    return _steps(signed, input_scale.double() * scale.abs().double(), output_scale)


def _steps(sums: Tensor, unit: Tensor, output_scale: Tensor | None) -> Tensor:
    """Sums worth `unit` each, float64, as values on whole steps of the output."""
    if output_scale is None:
        raise ValueError("a fixed-point layer has to be told the scale of its result")
    return _numbers(scaled(sums, unit / output_scale.double()), output_scale)


def _numbers(steps: Tensor, scale: Tensor) -> Tensor:
    return steps.float() * scale
