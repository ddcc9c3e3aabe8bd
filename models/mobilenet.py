"""MobileNet of a quarter of its width: the network of MLPerf Tiny's visual wake words.

A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017, table 1; its input and width after C. Banbury et al., "MLPerf Tiny Benchmark",
NeurIPS 2021, section 4.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.separable import Separable
from models.sizes import at_least

CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Of the stem and of each separable convolution, at the full width."""

HALVING = frozenset({2, 4, 6, 12})
"""Entries of `CHANNELS` whose convolution halves the picture; the stem does too."""


class MobileNet(nn.Module):
    """A convolution, thirteen separable ones, the mean, a linear layer.

    With the defaults 221,794 parameters and running statistics.

    Args:
        num_classes: Number of outputs.
        width: Share of the channels of the paper; 1 for its full network.
        size: Height and width of the example input.

    Attributes:
        example_input_array: Zeros (1, 3, size, size); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1 or no whole number, or the width leaves a layer no channel.
    """

    def __init__(self, num_classes: int = 2, width: float = 0.25, *, size: int = 96) -> None:
        super().__init__()
        at_least(1, "MobileNet", num_classes=num_classes, size=size)
        channels = [int(width * count) for count in CHANNELS]
        if channels[0] < 1:
            raise ValueError(
                f"MobileNet(width={width}): the stem of {CHANNELS[0]} channels would have "
                f"{channels[0]}; give {1 / CHANNELS[0]} or more."
            )
        self.stem = nn.Conv2d(3, channels[0], 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(channels[0])
        pairs = enumerate(pairwise(channels), start=1)
        self.blocks = nn.Sequential(*(Separable(*p, 2 if n in HALVING else 1) for n, p in pairs))
        self.classifier = nn.Linear(channels[-1], num_classes)
        self.example_input_array = torch.zeros(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (batch, 3, height, width) -> class logits (batch, classes)."""
        x = self.blocks(self.norm(self.stem(x)).relu())
        return self.classifier(x.mean(dim=(2, 3)))
