"""Networks without residual sums: VGG-11, SqueezeNet 1.1 and DenseNet-121.

Sources: Simonyan and Zisserman 2015 (arXiv:1409.1556), table 1 column A, with BatchNorm; Iandola
et al. 2016 (arXiv:1602.07360), release 1.1; Huang et al. 2017 (arXiv:1608.06993), table 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .layers import Branches, example, pooled_head

if TYPE_CHECKING:
    from collections.abc import Sequence


class VGG11BN(nn.Module):
    """VGG-11 with BatchNorm.

    The published classifier holds 93 % of the parameters. `light` keeps the convolutions and the
    flattening of a spatial map, and shrinks that map to 2 x 2 and the hidden layers to 64.
    """

    WIDTHS = ((64,), (128,), (256, 256), (512, 512), (512, 512))

    def __init__(self, *, light: bool = False, num_classes: int = 1000, size: int = 64) -> None:
        super().__init__()
        side, hidden = (2, 64) if light else (7, 4096)
        layers: list[nn.Module] = []
        channels = 3
        for stage in self.WIDTHS:
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers.append(nn.ReLU(inplace=True))
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(side)
        self.classifier = nn.Sequential(
            nn.Linear(channels * side * side, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.pool(self.features(x)), 1))


def fire(inputs: int, squeezed: int, expanded: int) -> nn.Sequential:
    """1x1 squeeze, then 1x1 and 3x3 expansions side by side; no norms."""
    return nn.Sequential(
        nn.Conv2d(inputs, squeezed, 1),
        nn.ReLU(inplace=True),
        Branches(
            nn.Sequential(nn.Conv2d(squeezed, expanded, 1), nn.ReLU(inplace=True)),
            nn.Sequential(nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU(inplace=True)),
        ),
    )


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1: the last convolution's channels are the classes."""

    def __init__(self, *, num_classes: int = 1000, size: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(64, 16, 64),
            fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(128, 32, 128),
            fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            fire(256, 48, 192),
            fire(384, 48, 192),
            fire(384, 64, 256),
            fire(512, 64, 256),
        )
        self.head = nn.Sequential(
            nn.Dropout(0.5),
            nn.Conv2d(512, num_classes, 1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def norm_conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """BatchNorm, ReLU, convolution: each reader normalises a concatenation in its own way."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
    )


class DenseBlock(nn.Module):
    """Every layer reads the concatenation of all maps before it."""

    def __init__(self, inputs: int, depth: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                norm_conv(inputs + index * growth, 4 * growth, 1), norm_conv(4 * growth, growth, 3)
            )
            for index in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return torch.cat(maps, 1)


class DenseNet(nn.Module):
    """DenseNet-BC; DenseNet-121 by default."""

    def __init__(
        self,
        depths: Sequence[int] = (6, 12, 24, 16),
        *,
        growth: int = 32,
        num_classes: int = 1000,
        size: int = 64,
    ) -> None:
        super().__init__()
        channels = 2 * growth
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        ]
        for stage, depth in enumerate(depths):
            if stage > 0:
                layers += [norm_conv(channels, channels // 2, 1), nn.AvgPool2d(2)]
                channels //= 2
            layers.append(DenseBlock(channels, depth, growth))
            channels += depth * growth
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.head = pooled_head(channels, num_classes)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
