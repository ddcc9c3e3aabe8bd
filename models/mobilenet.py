"""MobileNet at a quarter of its width, which MLPerf Tiny measures for persons in pictures.

A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", arXiv:1704.04861, table 1; C. Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021.
Tensors are (batch, channel, height, width).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.ds_cnn import separable
from models.sizes import at_least

BLOCKS = (
    *((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2)),
    *((16, 1),) * 5,
    *((32, 2), (32, 1)),
)
"""Width in units of the stem's, and stride, of every depthwise separable block."""


class MobileNet(nn.Module):
    """MobileNet: 216,322 parameters and 5,472 running statistics at 8 channels and 2 classes.

    MLPerf Tiny prints 221,794 for both together. Convolutions have biases, as there; at stride 2
    they pad on both sides, where TensorFlow pads behind alone.

    Args:
        num_classes: Number of outputs.
        channels: Channels of the stem; 32 is the paper's width, 8 a quarter of it.
        size: Height and width of the example input.

    Attributes:
        example_input_array: Zeros (1, 3, size, size); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1 or no whole number.
    """

    def __init__(self, num_classes: int = 2, channels: int = 8, *, size: int = 96) -> None:
        super().__init__()
        at_least(1, "MobileNet", num_classes=num_classes, channels=channels, size=size)
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels, 3, stride=2, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        inputs = channels
        for times, stride in BLOCKS:
            layers.append(separable(inputs, times * channels, stride))
            inputs = times * channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)
        self.example_input_array = torch.zeros(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (batch, 3, height, width) -> class logits (batch, classes)."""
        return self.classifier(self.features(x).mean(dim=(2, 3)))
