"""Least squares where a rectifier follows: what it cuts off need not be met.

Before a ReLU an output that is to be negative is as good as any other negative one (X. Zhang, J.
Zou, K. He, J. Sun, "Accelerating Very Deep Convolutional Networks", arXiv:1505.06798, section 3.2,
ask for the same). With v what the layer gives and y what it should, the error is (v - y)^2 where y
is positive, and max(v, 0)^2 where it is not: it is convex. It is no greater than (v - z)^2 with z =
min(v, 0) in the place of negative y, so that least squares for z, over and over, never makes it
greater; the products of the inputs stay, and their system is factored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressor.repair.aim import Aim
from compressor.repair.products import Products
from compressor.repair.ridge import Solution

ROUNDS = 16
"""Most solutions."""

LITTLE = 0.003
"""The part of the error by which it must still fall."""

FURTHER = 1.7
"""Length of a step, in parts of the way to the next solution: below 2 the error falls."""


@dataclass(frozen=True)
class Block:
    """Rows of one application.

    Attributes:
        u: Entries, (rows, group, entry).
        aim: What is wanted.
    """

    u: Tensor
    aim: Aim

    def given(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Outputs (rows, group * out) of a weight (group, out, entry) and a bias (group, out)."""
        v = torch.einsum("rge,goe->rgo", self.u, weight.to(self.u)) + bias.to(self.u)
        return v.flatten(1)


def one_sided(
    plain: Solution, products: Products, weight: Tensor, blocks: Sequence[Block]
) -> Solution:
    """The answer that goes by what is let through, pulled like a plain one from which it begins.

    Args:
        plain: The answer by plain least squares, with a bias.
        products: Over all rows.
        weight: What was there, (group, out, entry), float64.
        blocks: All rows; none where nothing is rectified: the plain answer is the answer then.
    """
    if not blocks or plain.bias is None or sum(len(b.u) for b in blocks) != products.count:
        return plain
    around = products.centred()
    size = around.uu.diagonal(dim1=1, dim2=2).mean(1)
    eye = torch.eye(weight.shape[2], dtype=torch.float64)
    system = around.uu + (plain.pull * torch.where(size > 0, size, 1.0))[:, None, None] * eye
    factor, failed = torch.linalg.cholesky_ex(system)
    if bool(failed.any()):
        return plain
    pulled = weight @ around.uu
    spread = float(around.yy.sum()) or 1.0
    before = _Aimed.at(weight, around.y - (weight @ around.u[..., None])[..., 0], blocks).error
    now, bias, error = plain.weight, plain.bias, float("inf")
    best = (now, bias)
    for _ in range(ROUNDS):
        aimed = _Aimed.at(now, bias, blocks)
        if aimed.error > (1 - LITTLE) * error:
            break
        error, best = aimed.error, (now, bias)
        yu = aimed.yu - aimed.y[..., None] * around.u[:, None]
        then = weight + torch.cholesky_solve((yu - pulled).mT, factor).mT
        now = now + FURTHER * (then - now)
        bias = aimed.y - (now @ around.u[..., None])[..., 0]
    return replace(
        plain, weight=best[0], bias=best[1], before=before / spread, after=error / spread
    )


@dataclass(frozen=True)
class _Aimed:
    """Means over all rows of what a weight is to give next.

    Attributes:
        yu: Products with entries, (group, out, entry).
        y: (group, out).
        error: Mean squared distance to it, over all outputs in sum.
    """

    yu: Tensor
    y: Tensor
    error: float

    @classmethod
    def at(cls, weight: Tensor, bias: Tensor, blocks: Sequence[Block]) -> _Aimed:
        groups, out, _ = weight.shape
        yu, y, error, rows = torch.zeros_like(weight), torch.zeros_like(bias), 0.0, 0
        for block in blocks:
            v = block.given(weight, bias)
            z = block.aim.towards(v)
            error += float((z - v).square().sum())
            apart = z.reshape(-1, groups, out)
            yu += torch.einsum("rgo,rge->goe", apart, block.u).double().cpu()
            y += apart.sum(0).double().cpu()
            rows += len(z)
        return cls(yu / rows, y / rows, error / rows)
