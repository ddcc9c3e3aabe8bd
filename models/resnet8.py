"""ResNet-8: the network of MLPerf Tiny's image classification, for pictures of 32 x 32.

The family of K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR
2016, section 4.2, cut to three blocks: C. Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021,
section 4. Unlike `models.residual`: biases, and no normalisation in the shortcuts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.sizes import at_least


class PlainBlock(nn.Module):
    """`relu(norm(conv(relu(norm(conv(x))))) + shortcut(x))`, the shortcut of one tap if needed."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, both divided by the stride)."""
        inner = self.norm1(self.first(x)).relu()
        return (self.norm2(self.second(inner)) + self.shortcut(x)).relu()


class ResNet8(nn.Module):
    """A convolution, three blocks of which two halve the picture, the mean, a linear layer.

    With the defaults 78,666 parameters and running statistics.

    Args:
        num_classes: Number of outputs.
        width: Channels of the first block; each further one has twice as many.
        size: Height and width of the example input.

    Attributes:
        example_input_array: Zeros (1, 3, size, size); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1 or no whole number.
    """

    def __init__(self, num_classes: int = 10, width: int = 16, *, size: int = 32) -> None:
        super().__init__()
        at_least(1, "ResNet8", num_classes=num_classes, width=width, size=size)
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            PlainBlock(width, width, stride=1),
            PlainBlock(width, 2 * width, stride=2),
            PlainBlock(2 * width, 4 * width, stride=2),
        )
        self.classifier = nn.Linear(4 * width, num_classes)
        self.example_input_array = torch.zeros(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (batch, 3, height, width) -> class logits (batch, classes)."""
        x = self.blocks(self.norm(self.stem(x)).relu())
        return self.classifier(x.mean(dim=(2, 3)))
