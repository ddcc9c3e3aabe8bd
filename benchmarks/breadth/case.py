"""A network of the comparison: its name, its kind, and what makes it and its input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

BATCH = 2
"""Examples in an input, so that nothing passes that holds for a batch of one alone."""

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A network; its input is made by every function of `inputs` in turn."""

    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[Callable[[], Tensor], ...]

    def example(self) -> Inputs:
        """One input, drawn from the global generator."""
        return tuple(make() for make in self.inputs)


def real(*shape: int) -> Callable[[], Tensor]:
    """Normal numbers of a shape, the batch left out."""
    return partial(torch.randn, BATCH, *shape)


def tokens(length: int, vocabulary: int) -> Callable[[], Tensor]:
    """Whole numbers below the size of a vocabulary."""
    return partial(torch.randint, vocabulary, (BATCH, length))


def image(side: int = 32, channels: int = 3) -> tuple[Callable[[], Tensor]]:
    """The input of a network that takes one square picture."""
    return (real(channels, side, side),)


def sound(samples: int = 4000) -> tuple[Callable[[], Tensor]]:
    """The input of a network that takes one waveform with a channel."""
    return (real(1, samples),)
