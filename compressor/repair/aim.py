"""What a layer of the smaller network is to give: outputs that stay, put right for what follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from compressor.repair.course import Course
from compressor.repair.dense import Said
from compressor.repair.products import single

LEAST = 1e-4
"""A scale below this part of the largest says nothing: a sum cannot be put right by it."""


@dataclass(frozen=True)
class Wanted:
    """Outputs of the dense network that stay.

    Attributes:
        channels: Their numbers among those of the dense layer; None for all.
        factors: What they are multiplied with in the smaller network; None for one.
    """

    channels: Tensor | None = None
    factors: Tensor | None = None

    def of(self, outputs: Tensor) -> Tensor:
        """What the smaller layer should give in the place of the dense one, (rows, channel)."""
        kept = outputs if self.channels is None else outputs[:, self.channels]
        return kept if self.factors is None else kept * self.factors.to(kept)

    @property
    def highest(self) -> int:
        """The highest channel that is wanted, by number."""
        return -1 if self.channels is None or not len(self.channels) else int(self.channels[-1])


@dataclass(frozen=True)
class Aim:
    """Outputs y that are wanted of an application, and what becomes of them.

    ``clamp(scale * y + offset, low, high)`` is to be what it is in the dense network.

    Attributes:
        y: (rows, channel).
        scale: (channel,).
        offset: Of what is added, (rows, channel) or (1, channel).
        told: Channels of which the scale tells anything, (channel,).
        low: Least value that is let through.
        high: Greatest.
    """

    y: Tensor
    scale: Tensor
    offset: Tensor
    told: Tensor
    low: float
    high: float

    @property
    def rectified(self) -> bool:
        """True where not every value is let through."""
        return Course(low=self.low, high=self.high).rectified

    @classmethod
    def of(cls, course: Course, wanted: Wanted, said: Said, rest: Tensor | None) -> Self | None:
        """The aim of one application; None where sums do not compare.

        Args:
            course: What becomes of the dense layer's outputs.
            wanted: Which of them are wanted.
            said: What they are.
            rest: What is added in the smaller network, (rows, channel).
        """
        y = single(wanted.of(said.outputs))
        one = torch.ones_like(y[:1]).flatten()
        if not y.numel() or wanted.factors is not None or said.width != _width(course, said):
            return cls(y, one, 0 * one[None], one > 0, *_NOWHERE)
        plain = replace(wanted, factors=None)
        scale = one if course.scale is None else plain.of(course.scale[None])[0].to(y)
        offset = 0 * one[None] if course.shift is None else plain.of(course.shift[None]).to(y)
        told = scale.abs() > LEAST * scale.abs().max()
        scale = torch.where(told, scale, 1.0)
        if course.added:
            if said.rest is None or rest is None:
                return None
            theirs = plain.of(said.rest)
            if theirs.shape != y.shape or rest.shape != y.shape:
                return None
            y = y + torch.where(told, (theirs - rest) / scale, 0.0)
            offset = offset + rest
        return cls(y, scale, offset, told, course.low, course.high)

    def towards(self, v: Tensor) -> Tensor:
        """The nearest outputs to v that are as good as any."""
        wanted, given = (self.scale * x + self.offset for x in (self.y, v))
        inner = torch.where(wanted >= self.high, given.clamp(min=self.high), wanted)
        best = torch.where(wanted <= self.low, given.clamp(max=self.low), inner)
        return torch.where(self.told, (best - self.offset) / self.scale, self.y)


_NOWHERE = (-torch.inf, torch.inf)


def _width(course: Course, said: Said) -> int:
    """Channels that the course of an output knows."""
    return said.width if course.scale is None else len(course.scale)
