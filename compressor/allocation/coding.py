"""Loss of a tensor that is stored with fewer weights of fewer bits, and the bits that it saves.

An option for a tensor is a pair: the share of its weights that stay, and the bits of each. What it
loses is measured by how much the loss would rise to second order, with the diagonal of the Fisher
information in the place of the Hessian (LeCun et al. 1989; Theis et al. 2018, arXiv:1801.05787):

    loss(option) = 1/2 * sum over weights of  F * (w - w')^2,    F = mean of squared gradients

What it costs is its stream of values and, where weights are missing, one bit each to say which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.importance import Gradients, squared
from compressor.surgery.masks import largest


@dataclass(frozen=True)
class Code:
    """Form in which a tensor is stored.

    Attributes:
        density: Share of its weights that stay, in (0, 1].
        bits: Bits of a weight, 2 to 8.
    """

    density: float
    bits: int

    def cost(self, size: int) -> int:
        """Bits for a tensor of `size` weights, whole bytes for each of its streams."""
        if self.density == 1:
            return 8 * -(-size * self.bits // 8)
        return 8 * (-(-self.kept(size) * self.bits // 8) + -(-size // 8))

    def kept(self, size: int) -> int:
        """Number of `size` weights that stay; at least one."""
        return max(1, round(self.density * size))


DENSITIES = (1.0, 0.7, 0.5, 0.35, 0.25)
BITS = (8, 6, 5, 4, 3)
CODES = tuple(Code(density, bits) for density, bits in product(DENSITIES, BITS))
"""What a tensor is offered. Below a quarter of its weights a layer of a small network rarely
recovers, and an additive loss would send some there."""


def coded(weight: Tensor, code: Code, out_dim: int = 0) -> Tensor:
    """A tensor as its code leaves it: the largest weights, rounded by channel.

    Each channel that the layer writes, along `out_dim` (0 for (out, in, ...)), has a scale: its
    largest magnitude over the largest integer.
    """
    live = largest(weight.detach().abs(), code.kept(weight.numel()))
    return rounded(torch.where(live, weight.detach(), 0), code.bits, out_dim)


def rounded(weight: Tensor, bits: int, out_dim: int = 0) -> Tensor:
    """Symmetric rounding by channel to integers of at most ``2 ** (bits - 1) - 1``."""
    most = 2 ** (bits - 1) - 1
    others = [d for d in range(weight.ndim) if d != out_dim]
    scale = weight.abs().amax(others, keepdim=True) / most
    scale = torch.where(scale > 0, scale, 1.0)
    return (weight / scale).round().clamp(-most, most) * scale


def fisher_diagonal(names: Iterable[str], gradients: Gradients) -> dict[str, Tensor]:
    """Mean over micro-batches of squared gradients, entry by entry, in float64, by name."""
    sums, count = squared(gradients, frozenset(names))
    return {name: total / count for name, total in sums.items()}


def tables(
    weights: Mapping[str, Tensor],
    fisher: Mapping[str, Tensor],
    out_dims: Mapping[str, int],
    codes: Sequence[Code] = CODES,
) -> tuple[list[NDArray[np.int64]], list[NDArray[np.float64]]]:
    """Tabulate cost (bits) and loss of every code for every tensor, in the order of `weights`."""
    costs, losses = list[NDArray[np.int64]](), list[NDArray[np.float64]]()
    for name, weight in weights.items():
        sensitivity = fisher.get(name, torch.zeros_like(weight)).double()
        wide = weight.detach().double()
        errors = (wide - coded(wide, code, out_dims.get(name, 0)) for code in codes)
        losses.append(np.array([0.5 * float((sensitivity * e.square()).sum()) for e in errors]))
        costs.append(np.array([code.cost(weight.numel()) for code in codes], dtype=np.int64))
    return costs, losses
