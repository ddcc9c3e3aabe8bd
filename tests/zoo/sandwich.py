"""The frame of most small networks: a prunable stem, one trap, a prunable tail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .layers import Apply, conv_norm, example

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 16
CLASSES = 5


class Sandwich(nn.Module):
    """Stem (3 to 16 channels, 8 x 8), the trap, tail (3x3 convolution, mean, linear)."""

    def __init__(self, trap: nn.Module, outputs: int = WIDTH) -> None:
        super().__init__()
        self.stem = conv_norm(3, WIDTH, 3, stride=2)
        self.trap = trap
        self.tail = nn.Conv2d(outputs, 12, 3, padding=1)
        self.classifier = nn.Linear(12, CLASSES)
        self.example_input_array = example(1, 3, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.tail(self.trap(self.stem(x))))
        return self.classifier(x.mean((2, 3)))


class Flat(nn.Module):
    """Stem, the trap, which returns (batch, features), linear."""

    def __init__(self, trap: nn.Module, features: int) -> None:
        super().__init__()
        self.stem = conv_norm(3, WIDTH, 3, stride=2)
        self.trap = trap
        self.classifier = nn.Linear(features, CLASSES)
        self.example_input_array = example(1, 3, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.trap(self.stem(x)))


class Chain(nn.Sequential):
    """Layers in a row that take an example of the given shape."""

    def __init__(self, shape: tuple[int, ...], *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.example_input_array = example(*shape)


def within(trap: Callable[[], nn.Module], outputs: int = WIDTH) -> Callable[[], nn.Module]:
    """Builder of a sandwich whose trap is a module."""
    return lambda: Sandwich(trap(), outputs)


def through(function: Callable[[Tensor], Tensor], outputs: int = WIDTH) -> Callable[[], nn.Module]:
    """Builder of a sandwich whose trap is a plain function of its (1, 16, 8, 8) map."""
    return lambda: Sandwich(Apply(function), outputs)
