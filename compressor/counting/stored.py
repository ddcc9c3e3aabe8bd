"""Roles of stored tensors, said by the modules that hold them otherwise than as parameters.

A network of data has none of the layers by which a counter knows a bias from a norm, and one of
integers has no parameters at all. So both say it themselves, and whoever counts need not know how
they are built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

from torch import Tensor, nn


class Role(Enum):
    """The purpose of a tensor."""

    WEIGHT = auto()
    """It is multiplied with what comes in, or is any other parameter."""
    BIAS = auto()
    """It is added to what a layer makes."""
    NORM = auto()
    """Gain or shift of a batch normalisation."""
    STATISTICS = auto()
    """Its running mean or variance."""
    SCALE = auto()
    """The worth of a step of integers: part of how numbers are written, no parameter."""
    NONE = auto()
    """Nothing that is learned."""


COUNTED = (Role.WEIGHT, Role.BIAS, Role.NORM)
"""The roles of parameters."""


@dataclass(frozen=True)
class Stored:
    """A tensor and what it is for."""

    tensor: Tensor
    role: Role


class Integral(nn.Module):
    """A module that computes with whole numbers: what its buffers are for, by their names."""

    roles: ClassVar[Mapping[str, Role]] = {}


class Described(nn.Module):
    """A module that says what its tensors are for, those of the modules in it included."""

    def stored(self) -> Sequence[Stored]:
        """Every distinct tensor once."""
        raise NotImplementedError


class Compressed:
    """Something with a model and one input of it: what `fit` returns can be counted as it is."""

    model: nn.Module
    example: tuple[Tensor, ...]
