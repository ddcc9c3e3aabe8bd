"""Residual networks: ResNet, ResNeXt, RegNet and ConvNeXt.

Sources: He et al. 2016 (arXiv:1512.03385), with the stride of a bottleneck in its 3x3 convolution
("v1.5"); Xie et al. 2017 (arXiv:1611.05431); Radosavovic et al. 2020 (arXiv:2003.13678);
Liu et al. 2022 (arXiv:2201.03545).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .layers import LayerNorm2d, SqueezeExcite, conv_norm, example, pooled_head

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Residual(nn.Module):
    """ReLU(branch + shortcut); the shortcut is a strided 1x1 convolution where shapes differ."""

    def __init__(self, branch: nn.Module, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = conv_norm(inputs, outputs, stride=stride, act=None)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        out += self.shortcut(x)  # in place on purpose: users write residual sums this way
        return self.relu(out)


def basic(inputs: int, planes: int, stride: int) -> Residual:
    """Two 3x3 convolutions (ResNet-18)."""
    branch = nn.Sequential(
        conv_norm(inputs, planes, 3, stride=stride), conv_norm(planes, planes, 3, act=None)
    )
    return Residual(branch, inputs, planes, stride)


def bottleneck(
    inputs: int, planes: int, stride: int, *, inner: int | None = None, groups: int = 1
) -> Residual:
    """1x1, strided 3x3 (grouped in ResNeXt), 1x1 to four times the planes (ResNet-50)."""
    inner = planes if inner is None else inner
    branch = nn.Sequential(
        conv_norm(inputs, inner),
        conv_norm(inner, inner, 3, stride=stride, groups=groups),
        conv_norm(inner, 4 * planes, act=None),
    )
    return Residual(branch, inputs, 4 * planes, stride)


def resnext_block(inputs: int, planes: int, stride: int) -> Residual:
    """The 32x4d bottleneck: twice the planes inside, in 32 groups."""
    return bottleneck(inputs, planes, stride, inner=2 * planes, groups=32)


class ResNet(nn.Module):
    """Stem, four stages of residual blocks that double their planes, global mean, classifier."""

    def __init__(
        self,
        block: Callable[[int, int, int], Residual],
        depths: Sequence[int],
        expansion: int,
        *,
        width: int = 64,
        num_classes: int = 1000,
        size: int = 64,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_norm(3, width, 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1)
        )
        blocks: list[nn.Module] = []
        channels = width
        for stage, depth in enumerate(depths):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(channels, width << stage, stride))
                channels = expansion * (width << stage)
        self.blocks = nn.Sequential(*blocks)
        self.head = pooled_head(channels, num_classes)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


def resnet18(*, width: int = 64, num_classes: int = 1000, size: int = 64) -> ResNet:
    """ResNet-18."""
    return ResNet(basic, (2, 2, 2, 2), 1, width=width, num_classes=num_classes, size=size)


def resnet50(*, width: int = 64, num_classes: int = 1000, size: int = 64) -> ResNet:
    """ResNet-50 v1.5."""
    return ResNet(bottleneck, (3, 4, 6, 3), 4, width=width, num_classes=num_classes, size=size)


def resnext50(*, width: int = 64, num_classes: int = 1000, size: int = 64) -> ResNet:
    """ResNeXt-50 32x4d (width a multiple of 16, so that 32 groups divide)."""
    return ResNet(resnext_block, (3, 4, 6, 3), 4, width=width, num_classes=num_classes, size=size)


def regnet_block(
    inputs: int, outputs: int, stride: int, group_width: int, *, gated: bool
) -> Residual:
    """1x1, strided grouped 3x3, squeeze-excite (RegNetY), 1x1; no narrowing inside."""
    layers: list[nn.Module] = [
        conv_norm(inputs, outputs),
        conv_norm(outputs, outputs, 3, stride=stride, groups=outputs // group_width),
    ]
    if gated:  # squeezed to a quarter of the block's INPUT width
        layers.append(SqueezeExcite(outputs, round(inputs / 4)))
    layers.append(conv_norm(outputs, outputs, act=None))
    return Residual(nn.Sequential(*layers), inputs, outputs, stride)


class RegNet(nn.Module):
    """Stem of 32 channels and four stages, each opening with stride 2."""

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        group_width: int,
        *,
        gated: bool,
        num_classes: int = 1000,
        size: int = 64,
    ) -> None:
        super().__init__()
        self.stem = conv_norm(3, 32, 3, stride=2)
        blocks: list[nn.Module] = []
        channels = 32
        for depth, width in zip(depths, widths, strict=True):
            for index in range(depth):
                stride = 2 if index == 0 else 1
                blocks.append(regnet_block(channels, width, stride, group_width, gated=gated))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = pooled_head(channels, num_classes)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


def regnet_x_400mf(*, num_classes: int = 1000, size: int = 64) -> RegNet:
    """RegNetX-400MF."""
    depths, widths = (1, 2, 7, 12), (32, 64, 160, 400)
    return RegNet(depths, widths, 16, gated=False, num_classes=num_classes, size=size)


def regnet_y_400mf(*, num_classes: int = 1000, size: int = 64) -> RegNet:
    """RegNetY-400MF."""
    depths, widths = (1, 3, 6, 6), (48, 104, 208, 440)
    return RegNet(depths, widths, 8, gated=True, num_classes=num_classes, size=size)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, then a two-layer perceptron over channels-last maps, scaled per channel."""

    def __init__(self, channels: int, layer_scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.widen = nn.Linear(channels, 4 * channels)
        self.act = nn.GELU()
        self.narrow = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        out = self.depthwise(x).permute(0, 2, 3, 1)
        out = self.narrow(self.act(self.widen(self.norm(out))))
        return x + self.scale * out.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """ConvNeXt; Tiny by default. Stochastic depth, inert in evaluation, is left out."""

    def __init__(
        self,
        depths: Sequence[int] = (3, 3, 9, 3),
        *,
        width: int = 96,
        layer_scale: float = 1e-6,
        num_classes: int = 1000,
        size: int = 64,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=4), LayerNorm2d(width)]
        channels = width
        for stage, depth in enumerate(depths):
            if stage > 0:
                layers += [
                    LayerNorm2d(channels),
                    nn.Conv2d(channels, 2 * channels, 2, stride=2),
                ]
                channels *= 2
            layers += [ConvNeXtBlock(channels, layer_scale) for _ in range(depth)]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.norm = LayerNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.norm(self.pool(self.features(x))).flatten(1))
