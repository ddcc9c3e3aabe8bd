"""From what a layer learned to what an int8 layer holds: integers, scales, biases.

A layer computes ``gain * (weight . x) + shift``, where gain and shift are those of the
normalisation behind it. With ``weight = scale_w * W`` and ``x = scale_x * X`` this is, exactly,
``scale_x * scale * (W . X + bias)`` with ``scale = scale_w * gain``: normalisation goes into the
scale, and the integers W are those of training. A negative gain makes a negative scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.inputs.finite import is_finite
from compressor.network.grid import EXACT, Integers
from compressor.quantization.fake import WEIGHT_LIMIT, weight_scale, weight_steps

WHOLE = (1 << 31) - 1
"""32 bits hold every whole number up to here, of either sign."""

_LARGEST_BIAS = 1 << 30
"""Half of what 32 bits hold: the other half is left for the sums."""

_NOTHING = 2.0**-24  # gain that stands for none

_DEAD_BIAS = 1 << 22
"""Bias of a channel without weights, which then has 22 bits and is exact in single precision."""


@dataclass(frozen=True)
class Affine:
    """A gain and a shift for each channel of a layer: ``gain * y + shift``, in double precision.

    Attributes:
        gain: (channels,), or (channels, sub_bands) where sub-bands of frequency differ.
        shift: Of the same shape.
    """

    gain: Tensor
    shift: Tensor

    def then(self, gain: Tensor, shift: Tensor) -> Affine:
        """This and then ``gain * y + shift``, with (channels,) or (channels, sub_bands) each."""
        mine, other, more = self.gain, gain.double(), shift.double()
        if other.dim() > mine.dim():
            mine = mine[:, None]
        elif mine.dim() > other.dim():
            other, more = other[:, None], more[:, None]
        own = self.shift.reshape(*self.shift.shape, *[1] * (mine.dim() - self.shift.dim()))
        return Affine(mine * other, own * other + more)


def identity(channels: int, device: torch.device | None = None) -> Affine:
    """Nothing follows."""
    zeros = torch.zeros(channels, dtype=torch.float64, device=device)
    return Affine(zeros + 1, zeros)


def batch_norm(
    weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> Affine:
    """Gain and shift of a batch normalisation in evaluation; all tensors (channels,)."""
    gain = torch.rsqrt(variance.detach().double() + eps)
    gain = gain if weight is None else gain * weight.detach().double()
    shift = -mean.detach().double() * gain
    return Affine(gain, shift if bias is None else shift + bias.detach().double())


def fold(
    weight: Tensor,
    affine: Affine,
    input_scale: Tensor,
    largest_input: int,
    *,
    limit: int = WEIGHT_LIMIT,
    sixteen: bool = True,
    float_bias: bool = False,
) -> Integers:
    """The integers, scales and biases of a layer.

    Biases are whole multiples of ``input_scale * |scale|``, made from the scales as they are
    stored. Where a gain is next to nothing and the bias is not, 32 bits would not hold it; the
    scale is then raised until they do. What is next to nothing moves by at most 2^-6 of the bias.

    Args:
        weight: (outputs, ...), floating point.
        affine: What follows, the layer's own bias included.
        input_scale: Scale of the input, of shape (), in single precision.
        largest_input: Largest magnitude of an input, in steps.
        limit: Largest integer of a weight.
        sixteen: Round scales so that 16 bits hold them (see `sixteen_bits`).
        float_bias: Leave biases in floating point.

    Raises:
        ValueError: If a weight, gain or shift is infinite or not a number.
    """
    if not all(map(is_finite, (weight, affine.gain, affine.shift))):
        raise ValueError(
            "convert: a weight or the normalisation behind it is infinite or not a number, and has "
            "no integers: training diverged. Lower the learning rate, or go back to a checkpoint"
        )
    scales = weight_scale(weight, limit)
    steps = weight_steps(weight, scales, limit)
    sums = steps.abs().flatten(1).sum(dim=1)  # whole numbers, far below 2^24 each
    column = (-1, *[1] * (affine.gain.dim() - 1))
    plain = scales.double().reshape(column)
    each, live = plain * affine.gain, (sums > 0).reshape(column)
    # What a gain of zero switches off may not come through: next to nothing is left of it.
    each = torch.where(live & (each == 0), _NOTHING * plain, each)
    scale = _raised(each, affine.shift / input_scale.double(), live).float()
    scale = sixteen_bits(scale) if sixteen else scale
    unit = (input_scale.float() * scale.abs()).double()
    bias = (affine.shift / unit).round().to(torch.int32)
    bias = affine.shift.float() if float_bias else bias
    large = largest_sum(steps, bias, largest_input) >= EXACT
    return Integers(steps.to(torch.int8), scale, bias, large=large)


def largest_sum(steps: Tensor, bias: Tensor, largest_input: int) -> int:
    """The largest magnitude that a sum of a layer can reach, its bias included if it is whole.

    Args:
        steps: Whole numbers (outputs, ...), of any type.
        bias: (outputs,) or (outputs, sub_bands); in floating point it is added to no sum.
        largest_input: Largest magnitude of an input, in steps.
    """
    sums = steps.double().abs().flatten(1).sum(dim=1) * largest_input  # exact: below 2^53
    if not bias.is_floating_point():
        sums += bias.double().abs().reshape(len(sums), -1).amax(dim=1)
    return int(sums.max())


def sixteen_bits(scale: Tensor) -> Tensor:
    """Numbers rounded so that float16 holds each, times one power of two for all.

    The power is such that the largest is between 2^14 and 2^15: numbers down to 2^-29 of it keep 11
    bits. Any shape, float32; no zeros come in or out.
    """
    _, exponent = torch.frexp(scale.abs().max())
    power = torch.exp2(15.0 - exponent)
    scaled = scale * power
    least = torch.finfo(torch.float16).smallest_normal
    scaled = torch.copysign(scaled.abs().clamp(min=least), scaled)
    return scaled.half().float() / power


def _raised(scale: Tensor, shift: Tensor, live: Tensor) -> Tensor:
    """Scales, none of them zero, large enough for biases of `shift` to be held.

    A channel without weights may have any scale, and gets one that its bias is precise in.
    """
    limit = torch.where(live, float(_LARGEST_BIAS), float(_DEAD_BIAS))
    needed = shift.abs() / limit
    size = torch.maximum(torch.where(live, scale.abs(), 0.0), needed)
    # Both nothing: nothing comes out, whatever is chosen; a millionth of the others' scale.
    spare = size.max() * 2.0**-20
    size = torch.where(size > 0, size, torch.where(spare > 0, spare, 1.0))
    return torch.copysign(size, scale)
