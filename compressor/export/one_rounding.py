"""Networks rounded for fixed-point kernels, for runtimes that have none."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch._ops import OpOverload

from compressor.network import Network, Ref, Rewrite, Step, Weight
from compressor.network.fixed import (
    FULL_WEIGHT,
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
from compressor.network.grid import Integers
from compressor.network.integer import IntConv, IntLinear, IntMean, Layer, Scale
from compressor.network.steps import Value
from compressor.network.sums import IntSum

aten = torch.ops.aten

PLACE = "unfixed"
"""Branch of a network that holds the modules that stand for fixed-point ones."""


def unfixed(network: Network) -> Network:
    """The same integers and grids, rounded once; the network itself where nothing is to change.

    Results may differ by some steps from the reference's, whose rounding is that of other kernels.
    """
    rewrite, changed = Rewrite(network), False
    for step in network.steps:
        called = network.called(step)
        if isinstance(called, FixedMove):
            rewrite.redirect(step.name, cast("Ref", step.args[0]).name)
        elif isinstance(called, FixedProduct):
            rewrite.edit(step.name, op=aten.mul.Tensor, args=step.args[:2])
        elif isinstance(called, FixedSigmoid):
            rewrite.edit(step.name, op=aten.sigmoid.default, kwargs={})
        elif isinstance(called, FixedNorm):
            _norm(rewrite, step, called)
        elif (made := _module(network, step, called)) is not None:
            op = rewrite.add(f"{PLACE}.{step.name}", made)
            scale = [step.kwargs["output_scale"]] if isinstance(made, IntConv | IntLinear) else []
            rewrite.edit(step.name, op=op, args=(*step.args, *scale), kwargs={})
        else:
            continue
        changed = True
    return rewrite.build() if changed else network


def _norm(rewrite: Rewrite, step: Step, called: FixedNorm) -> None:
    """Residual Normalization in floating point, operation by operation."""

    def put(name: str, op: OpOverload, *args: Value) -> Ref:
        new = Step(f"{step.name}_{name}", op, args, {}, step.module)
        return rewrite.insert_before(step.name, new)

    x, over = step.args[0], ([1, 3], True)
    weight = step.kwargs.get("weight", called.weight)
    centred = put("centred", aten.sub.Tensor, x, put("mean", aten.mean.dim, x, *over))
    square = put("square", aten.mul.Tensor, centred, centred)
    variance = put("variance", aten.mean.dim, square, *over)
    root = put("root", aten.rsqrt.default, put("lifted", aten.add.Tensor, variance, called.eps))
    parts = put("passed", aten.mul.Tensor, x, weight), put("normal", aten.mul.Tensor, centred, root)
    rewrite.edit(step.name, op=aten.add.Tensor, args=parts, kwargs={})


def _module(network: Network, step: Step, called: nn.Module | None) -> nn.Module | None:
    """The module in the place of a fixed-point one; None for any other."""
    if isinstance(called, FixedSum):
        return IntSum(called.grids)
    if isinstance(called, FixedMean):
        return IntMean(called.windows, called.input_scale)
    if isinstance(called, FixedScale):
        unit = called.input_scale * called.scale.abs()
        return Scale(called.scale * FULL_WEIGHT, called.bias * unit)
    if not isinstance(called, FixedConv | FixedLinear):
        return None
    weight = network.tensor(cast("Weight", step.args[1]))
    content = _content(called, weight)
    if isinstance(called, FixedLinear):
        return IntLinear(content, called.input_scale)
    return IntConv(called.geometry, content, called.input_scale)


def _content(called: Layer, weight: torch.Tensor) -> Integers:
    return Integers(weight, called.scale, called.bias, called.large)
