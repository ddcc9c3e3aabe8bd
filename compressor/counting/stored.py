"""Roles of stored tensors, said by the modules that hold them otherwise than as parameters.

A network of data has none of the layers by which a counter knows a bias from a norm, and one of
integers has no parameters at all. So both say it themselves, and whoever counts need not know how
they are built.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar

import torch
from torch import Tensor, nn

from compressor.inputs.tensors import named_tensors


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


def floating(model: nn.Module) -> dict[str, int]:
    """Entries of weights in floating point beside others that are integers, by module.

    Vectors, which are few, are left out; empty for a model that holds no integers.
    """
    tensors = {id(t): (name, t) for name, t in named_tensors(model)}
    if not any(t.dtype == torch.int8 and t.ndim > 1 for _, t in tensors.values()):
        return {}
    return by_module((n, t) for n, t in tensors.values() if isinstance(t, nn.Parameter))


def by_module(weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Entries of weights, by the module that holds them; vectors, in any dimension, are none."""
    found = Counter[str]()
    for name, tensor in weights:
        if tensor.numel() > max(tensor.shape, default=1):
            found[name.rpartition(".")[0] or name] += tensor.numel()
    return dict(found)
