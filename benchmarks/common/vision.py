"""Networks for pictures with the true widths and depths of the published ones, for 1000 classes.

ResNet-18, -50 (He et al. 2015), MobileNet-V2 (Sandler et al. 2018), DenseNet-121 (Huang et al.
2016), EfficientNet-B0 (Tan and Le 2019); Swin-T is in `benchmarks.common.swin`. Parameters are
those of the papers' models, which `python -m benchmarks.speed.trace` prints.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CLASSES = 1000


def convolution(
    inputs: int,
    outputs: int,
    size: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    active: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """A convolution with its normalisation, and what follows it."""
    padding = size // 2
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([] if active is None else [active()]))


class Residual(nn.Module):
    """A residual block of two or three convolutions."""

    def __init__(self, inputs: int, width: int, stride: int, *, wide: int) -> None:
        """`wide` is what the outputs are wider than the inside; 0 for a block of two."""
        super().__init__()
        outputs = width * max(wide, 1)
        self.inside = (
            nn.Sequential(
                convolution(inputs, width),
                convolution(width, width, 3, stride),
                convolution(width, outputs, active=None),
            )
            if wide
            else nn.Sequential(
                convolution(inputs, width, 3, stride), convolution(width, width, 3, active=None)
            )
        )
        same = stride == 1 and inputs == outputs
        self.around = (
            nn.Identity() if same else convolution(inputs, outputs, stride=stride, active=None)
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        return self.relu(self.inside(x) + self.around(x))


class Pictures(nn.Module):
    """Layers, a mean over the picture, and classes."""

    def __init__(self, features: Sequence[nn.Module], width: int, side: int) -> None:
        """Of `width` channels at the end, for pictures of `side` by `side`."""
        super().__init__()
        self.features = nn.Sequential(*features)
        self.classes = nn.Linear(width, CLASSES)
        self.example_input_array = torch.zeros(1, 3, side, side)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes."""
        return self.classes(self.features(x).mean((2, 3)))


def resnet(depths: Sequence[int], *, wide: int, width: int = 64, side: int = 224) -> nn.Module:
    """A residual network; `wide` as in `Residual`."""
    layers: list[nn.Module] = [convolution(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = width
    for stage, depth in enumerate(depths):
        inside = width * 2**stage
        for block in range(depth):
            stride = 2 if stage and not block else 1
            layers.append(Residual(inputs, inside, stride, wide=wide))
            inputs = inside * max(wide, 1)
    return Pictures(layers, inputs, side)


class Excitation(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, width: int) -> None:
        """Of `width` inside."""
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.inside = nn.Sequential(
            nn.Conv2d(channels, width, 1), nn.SiLU(), nn.Conv2d(width, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """The channels, each times its weight."""
        return x * self.inside(self.pool(x))


class Inverted(nn.Module):
    """An inverted residual block, with squeeze and excitation if asked for."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int,
        *,
        wide: int,
        active: type[nn.Module],
        excited: bool,
    ) -> None:
        """The inside is `wide` times as wide as the inputs."""
        super().__init__()
        width = inputs * wide
        layers: list[nn.Module] = [] if wide == 1 else [convolution(inputs, width, active=active)]
        layers.append(convolution(width, width, size, stride, groups=width, active=active))
        layers += [Excitation(width, max(1, inputs // 4))] if excited else []
        layers.append(convolution(width, outputs, active=None))
        self.inside = nn.Sequential(*layers)
        self.same = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """What the inside adds to, where it can."""
        return x + self.inside(x) if self.same else self.inside(x)


MOBILENET = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3), (6, 64, 4, 2, 3), (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3), (6, 320, 1, 1, 3),
)  # fmt: skip
EFFICIENTNET = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip
"""Stages: how wide the inside is, channels, blocks, stride, size of the filters."""


def _inverted(
    stages: Sequence[tuple[int, int, int, int, int]],
    active: type[nn.Module],
    side: int,
    *,
    excited: bool,
) -> nn.Module:
    layers: list[nn.Module] = [convolution(3, 32, 3, 2, active=active)]
    inputs = 32
    for wide, outputs, depth, first, size in stages:
        for block in range(depth):
            stride = 1 if block else first
            layers.append(
                Inverted(inputs, outputs, size, stride, wide=wide, active=active, excited=excited)
            )
            inputs = outputs
    return Pictures([*layers, convolution(inputs, 1280, active=active)], 1280, side)


def mobilenet(side: int = 224) -> nn.Module:
    """MobileNet-V2."""
    return _inverted(MOBILENET, nn.ReLU6, side, excited=False)


def efficientnet(side: int = 224) -> nn.Module:
    """EfficientNet-B0, without the stochastic depth of its training."""
    return _inverted(EFFICIENTNET, nn.SiLU, side, excited=True)


class Dense(nn.Module):
    """A dense layer: what it adds is put beside what came in."""

    def __init__(self, inputs: int, growth: int) -> None:
        """It adds `growth` channels."""
        super().__init__()
        self.inside = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Both."""
        return torch.cat((x, self.inside(x)), 1)


def densenet(
    depths: Sequence[int] = (6, 12, 24, 16), growth: int = 32, side: int = 224
) -> nn.Module:
    """DenseNet-121."""
    width = 2 * growth
    layers: list[nn.Module] = [convolution(3, width, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for stage, depth in enumerate(depths):
        for _ in range(depth):
            layers.append(Dense(width, growth))
            width += growth
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        if stage + 1 < len(depths):
            layers += [nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
            width //= 2
    return Pictures(layers, width, side)
