"""Fake quantisation: values are rounded as in int8, gradients pass straight through.

One rule holds in training, in the integer reference and in ONNX (QuantizeLinear, opset 13): a value
x stands on step ``round(x / scale)``, halves to even, limited to the grid. PyTorch's own fused
``fake_quantize_*`` multiply by the reciprocal, which moves some halves, and take 3 to 4 ns an entry
on one CPU thread; four vectorised passes over one new tensor take 0.7, and the backward is a fifth.

Scales and steps are single precision at least, whatever comes in: with bfloat16's 8 bits neither
255.5 nor most scales exist. What goes out has the type of what came in.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from compressor.network.grid import Grid, quantised, wide

WEIGHT_LIMIT = 127
"""Weights are integers from -127 to 127: -128 is left out so that any sign can be flipped."""


def fake_quantise(x: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """The nearest values of a grid; differentiable in `x` and, if it requires one, in `scale`.

    Gradients are those of LSQ (Esser et al. 2020, "Learned Step Size Quantization"): that of `x`
    passes strictly between the limits (equation 5), that of `scale` is equation 3, multiplied by
    1 / sqrt(entries * largest step) (section 2.2).

    Args:
        x: Any shape.
        scale: One number, positive, of shape ().
        grid: The integers.
    """
    if not torch.is_grad_enabled() or not (x.requires_grad or scale.requires_grad):
        return quantised(x, scale, grid)
    return _Activation.apply(x, scale, grid)  # pyright: ignore[reportReturnType] - untyped in torch


def weight_scale(weight: Tensor, limit: int = WEIGHT_LIMIT) -> Tensor:
    """Scale of every output channel, of shape (outputs,): its largest magnitude is step `limit`.

    A channel of zeros has scale 1, as any would do.
    """
    scale = wide(weight.detach()).abs().flatten(1).amax(dim=1) / limit
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def weight_steps(weight: Tensor, scale: Tensor, limit: int = WEIGHT_LIMIT) -> Tensor:
    """Integers of a weight (outputs, ...), as floating-point numbers from -limit to limit.

    Zeros stay zeros, so that a pruned weight stays pruned.
    """
    steps = wide(weight.detach()) / scale.view(-1, *[1] * (weight.dim() - 1))
    return steps.round_().clamp_(-limit, limit)


def fake_quantise_weight(weight: Tensor, limit: int = WEIGHT_LIMIT) -> Tensor:
    """A weight (outputs, ...) rounded channel by channel; the gradient passes unchanged.

    The scale follows the weight: it is taken anew each time, and no weight is ever limited.
    """
    return _Weight.apply(weight, limit)  # pyright: ignore[reportReturnType] - untyped in torch


def swapped(weight: Tensor, groups: int) -> Tensor:
    """A weight with its outputs first from one with its inputs first, and the other way round.

    One is (inputs, outputs / groups, ...), as transposed convolutions have it, the other (outputs,
    inputs / groups, ...). With 0 groups `weight` has its outputs first anyway, and is returned.
    """
    if not groups:
        return weight
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


class _Activation(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, grid: Grid) -> Tensor:
        result = quantised(x, scale, grid)
        # The input is kept, which others mostly keep anyway: no memory of its own, no pass over it.
        ctx.save_for_backward(x, scale, *((result,) if ctx.needs_input_grad[1] else ()))
        ctx.grid = grid
        return result

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - a positional name
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor | None, None]:
        x, scale, *rest = ctx.saved_tensors
        grid: Grid = ctx.grid
        whole = wide(gradient)
        passed = _between(whole, wide(x), scale, grid)
        of_scale = None
        if rest:
            # d result / d scale = result / scale, less the unrounded step between the limits.
            of_scale = (_dot(whole, wide(rest[0])) - _dot(passed, wide(x))) / scale
            of_scale = of_scale / (x.numel() * grid.steps[1]) ** 0.5
        return passed.to(gradient.dtype), of_scale, None


def _between(gradient: Tensor, x: Tensor, scale: Tensor, grid: Grid) -> Tensor:
    """The gradient where `x` lies strictly between the limits of the grid, zero elsewhere."""
    low, high = grid.steps
    if scale.device.type == "cpu":
        step = scale.item()
        return torch.ops.aten.hardtanh_backward(gradient, x, low * step, high * step)
    # The same without asking a GPU for the scale, which would have the program wait for it.
    inside = (x > low * scale) & (x < high * scale)
    return torch.where(inside, gradient, 0.0)


class _Weight(Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, limit: int) -> Tensor:  # noqa: ARG004 - nothing to keep
        scale = weight_scale(weight, limit)
        each = scale.view(-1, *[1] * (weight.dim() - 1))
        return weight_steps(weight, scale, limit).mul_(each).to(weight.dtype)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - a positional name
        ctx: Any,  # noqa: ARG004
        gradient: Tensor,
    ) -> tuple[Tensor, None]:
        return gradient, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))
