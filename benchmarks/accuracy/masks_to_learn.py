"""Masks that `FrequencyMask` is compared with: magnitude after decay, l1, top-k; none is ahead.

Each is one more `compressor.phases.frequency.masks.Learned`, as a user's own would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from compressor.phases.frequency.masks import MASK, Learned


@dataclass(frozen=True)
class DecayedMask(Learned):
    """Weight `decay` on the mask; the largest factors stay (magnitude)."""

    decay: float = 0.02

    def step(self, state: dict[str, Any], gradient: Tensor, lr: float) -> None:
        state[MASK] = state[MASK] * (1 - lr * self.decay) - lr * gradient


@dataclass(frozen=True)
class L1Mask(Learned):
    """Proximal gradient steps on ``loss + weight * |mask|_1``; the largest factors stay.

    The weight is that at the end; it grows in proportion to the share that is over.
    """

    weight: float = 0.02

    def step(self, state: dict[str, Any], gradient: Tensor, lr: float) -> None:
        """A gradient step, then the proximal operator of the l1 norm (soft thresholding)."""
        moved = state[MASK] - lr * gradient
        threshold = lr * self.weight * state["over"]
        state[MASK] = moved.sign() * (moved.abs() - threshold).clamp(min=0)


@dataclass(frozen=True)
class TopKMask(Learned):
    """The largest factors pass as one, the others as zero; the gradient passes straight through."""

    def factors(self, state: dict[str, Any], mask: Tensor) -> Tensor:
        return (self.chosen(state).to(mask.dtype) - mask).detach() + mask
