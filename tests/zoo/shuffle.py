"""Channel-shuffling networks: ShuffleNetV1 (groups of 3) and ShuffleNetV2.

Sources: Zhang et al. 2018 (arXiv:1707.01083), table 1; Ma et al. 2018 (arXiv:1807.11164), table 5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import conv_norm, example


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deals the channels of (batch, channel, height, width) out to the groups in turn."""
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width)
    return x.transpose(1, 2).reshape(batch, channels, height, width)


class ShuffleUnitV1(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; added, or concatenated at stride 2."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int, first: int) -> None:
        super().__init__()
        inner, branch = outputs // 4, outputs - inputs if stride == 2 else outputs
        self.stride, self.groups = stride, groups
        self.squeeze = conv_norm(inputs, inner, groups=first)
        self.depthwise = conv_norm(inner, inner, 3, stride=stride, groups=inner, act=None)
        self.expand = conv_norm(inner, branch, groups=groups, act=None)

    def forward(self, x: Tensor) -> Tensor:
        out = channel_shuffle(self.squeeze(x), self.groups)
        out = self.expand(self.depthwise(out))
        if self.stride == 2:
            return functional.relu(torch.cat([functional.avg_pool2d(x, 3, 2, 1), out], 1))
        return functional.relu(x + out)


class ShuffleNetV1(nn.Module):
    """ShuffleNet 1x with 3 groups. The very first 1x1 convolution is dense: 24 inputs are few."""

    def __init__(
        self,
        *,
        widths: tuple[int, int, int] = (240, 480, 960),
        groups: int = 3,
        num_classes: int = 1000,
        size: int = 64,
    ) -> None:
        super().__init__()
        channels = 24
        layers: list[nn.Module] = [conv_norm(3, channels, 3, stride=2), nn.MaxPool2d(3, 2, 1)]
        for width, repeats in zip(widths, (4, 8, 4), strict=True):
            for index in range(repeats):
                stride = 2 if index == 0 else 1
                first = groups if channels > 24 else 1
                layers.append(ShuffleUnitV1(channels, width, stride, groups, first))
                channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))


class ShuffleUnitV2(nn.Module):
    """Half of the channels passes by (stride 1) or both halves are convolved (stride 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.bypass: nn.Module | None = None
        if stride == 2:
            self.bypass = nn.Sequential(
                conv_norm(inputs, inputs, 3, stride=2, groups=inputs, act=None),
                conv_norm(inputs, half),
            )
        self.branch = nn.Sequential(
            conv_norm(inputs if stride == 2 else half, half),
            conv_norm(half, half, 3, stride=stride, groups=half, act=None),
            conv_norm(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.bypass is None:
            kept, used = x.chunk(2, dim=1)
            out = torch.cat([kept, self.branch(used)], 1)
        else:
            out = torch.cat([self.bypass(x), self.branch(x)], 1)
        return channel_shuffle(out, 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2; the 1.0x widths by default."""

    def __init__(
        self,
        *,
        widths: tuple[int, int, int] = (116, 232, 464),
        last: int = 1024,
        num_classes: int = 1000,
        size: int = 64,
    ) -> None:
        super().__init__()
        channels = 24
        layers: list[nn.Module] = [conv_norm(3, channels, 3, stride=2), nn.MaxPool2d(3, 2, 1)]
        for width, repeats in zip(widths, (4, 8, 4), strict=True):
            for index in range(repeats):
                layers.append(ShuffleUnitV2(channels, width, 2 if index == 0 else 1))
                channels = width
        self.features = nn.Sequential(*layers, conv_norm(channels, last))
        self.classifier = nn.Linear(last, num_classes)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean([2, 3]))
