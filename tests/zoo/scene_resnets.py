"""Receptive-field-regularised residual networks of the 2020 acoustic scene challenge.

CP-ResNet (Koutini et al. 2019, arXiv:1907.01803) with rho = 5, and its low-complexity descendant
Shared-ResNet (Kim et al. 2020, DCASE challenge report): the later stages repeat one pair of
convolutions, each repeat with norms of its own, and the other residual branches end in
SubSpectralNorm. Inputs are (batch, 2, frequency, time).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .layers import conv_norm, example


class SubSpectralNorm(nn.Module):
    """BatchNorm per channel and frequency band, one affine map per channel (arXiv:2103.13620).

    Maps (batch, channel, frequency, time) to the same shape; frequency must be a multiple of the
    number of bands. Channel c in band b is row c * bands + b of the statistics.
    """

    def __init__(self, channels: int, bands: int = 2) -> None:
        super().__init__()
        self.bands = bands
        self.norm = nn.BatchNorm2d(channels * bands, affine=False)
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, frequency, time = x.shape
        x = x.view(batch, channels * self.bands, frequency // self.bands, time)
        x = self.norm(x).view(batch, channels, frequency, time)
        return x * self.weight + self.bias


class SceneBlock(nn.Module):
    """ReLU(conv, BatchNorm, ReLU, conv, norm + shortcut), with the last norm given."""

    def __init__(
        self, inputs: int, outputs: int, kernels: tuple[int, int], norm: nn.Module
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            conv_norm(inputs, outputs, kernels[0]),
            nn.Conv2d(outputs, outputs, kernels[1], padding=kernels[1] // 2, bias=False),
            norm,
        )
        same = inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


class SharedBlocks(nn.Module):
    """Repeats of ONE pair of pointwise convolutions; every repeat has its own two norms."""

    def __init__(self, channels: int, repeats: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 1, bias=False)
        self.norms1 = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(repeats))
        self.norms2 = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(repeats))

    def forward(self, x: Tensor) -> Tensor:
        for norm1, norm2 in zip(self.norms1, self.norms2, strict=True):
            out = norm2(self.conv2(torch.relu(norm1(self.conv1(x)))))
            x = torch.relu(x + out)
        return x


class SceneNet(nn.Module):
    """Stem 5x5 of stride 2, four blocks of `width`, two later stages, 1x1 classifier, mean."""

    def __init__(
        self,
        first_stage: list[nn.Module],
        later_stages: list[nn.Module],
        *,
        padding: int,
        width: int,
        num_classes: int,
        size: int,
    ) -> None:
        super().__init__()
        block1, block2, block3, block4 = first_stage
        self.features = nn.Sequential(
            conv_norm(2, width, 5, stride=2, padding=padding),
            block1,
            nn.MaxPool2d(2),
            block2,
            nn.MaxPool2d(2),
            block3,
            block4,
            nn.MaxPool2d(2),
            *later_stages,
        )
        self.classifier = conv_norm(4 * width, num_classes, act=None)
        self.example_input_array = example(1, 2, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).mean((2, 3))


def cp_resnet(*, width: int = 64, num_classes: int = 10, size: int = 32) -> SceneNet:
    """CP-ResNet of receptive-field parameter rho = 5."""

    def block(inputs: int, outputs: int, first: int, second: int) -> nn.Module:
        return SceneBlock(inputs, outputs, (first, second), nn.BatchNorm2d(outputs))

    kernels = ((3, 1), (3, 3), (3, 3), (3, 1))
    widths = (width, *4 * (2 * width,), *4 * (4 * width,))
    return SceneNet(
        [block(width, width, *pair) for pair in kernels],
        [block(narrow, wide, 1, 1) for narrow, wide in pairwise(widths)],
        padding=1,
        width=width,
        num_classes=num_classes,
        size=size,
    )


def shared_resnet(
    *, width: int = 64, repeats: int = 3, num_classes: int = 10, size: int = 32
) -> SceneNet:
    """Shared-ResNet; `size` must be a multiple of 32 (four halvings, then two bands)."""

    def block(inputs: int, outputs: int, first: int, second: int) -> nn.Module:
        return SceneBlock(inputs, outputs, (first, second), SubSpectralNorm(outputs))

    # The stem pads by 2 where CP-ResNet pads by 1: 256 rows must give 128, not 127, for two bands.
    return SceneNet(
        [block(width, width, *pair) for pair in ((3, 1), (3, 3), (3, 3), (3, 3))],
        [
            block(width, 2 * width, 1, 1),
            SharedBlocks(2 * width, repeats),
            block(2 * width, 4 * width, 1, 1),
            SharedBlocks(4 * width, repeats),
        ],
        padding=2,
        width=width,
        num_classes=num_classes,
        size=size,
    )
