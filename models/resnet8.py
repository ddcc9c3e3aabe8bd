"""ResNet-8, which MLPerf Tiny measures for small pictures: three residual blocks.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section
4.2, cut down; C. Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021. Tensors are (batch,
channel, height, width).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.sizes import at_least


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution with its bias, then batch normalisation."""
    made = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    return nn.Sequential(made, nn.BatchNorm2d(outputs))


class _Block(nn.Module):
    """`relu(conv(relu(conv(x))) + shortcut(x))`, the shortcut a plain 1x1 where it halves."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = _conv(inputs, outputs, stride), _conv(outputs, outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, both divided by the stride)."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class ResNet8(nn.Module):
    """ResNet-8: 78,186 parameters and 480 running statistics with 10 classes.

    MLPerf Tiny prints 78,666 for both together. Convolutions have biases and shortcuts no
    normalisation, as there.

    Args:
        num_classes: Number of outputs.
        widths: Channels of each block; the first is the stem's too, each later one halves.
        size: Height and width of the example input.

    Attributes:
        example_input_array: Zeros (1, 3, size, size); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1 or no whole number, or there is no width.
    """

    def __init__(
        self, num_classes: int = 10, widths: Sequence[int] = (16, 32, 64), *, size: int = 32
    ) -> None:
        super().__init__()
        if not widths:
            raise ValueError("ResNet8(widths=()): the stem needs a width.")
        at_least(1, "ResNet8", num_classes=num_classes, size=size)
        at_least(1, "ResNet8", **{f"widths[{i}]": width for i, width in enumerate(widths)})
        self.stem = nn.Sequential(*_conv(3, widths[0]), nn.ReLU())
        ins = (widths[0], *widths[:-1])
        pairs = enumerate(zip(ins, widths, strict=True))
        self.blocks = nn.Sequential(*(_Block(*pair, 2 if n else 1) for n, pair in pairs))
        self.classifier = nn.Linear(widths[-1], num_classes)
        self.example_input_array = torch.zeros(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (batch, 3, height, width) -> class logits (batch, classes)."""
        return self.classifier(self.blocks(self.stem(x)).mean(dim=(2, 3)))
