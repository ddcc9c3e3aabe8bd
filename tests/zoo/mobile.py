"""Inverted-residual networks: MobileNetV2, MobileNetV3, EfficientNet-B0 and MnasNet.

Sources: Sandler et al. 2018 (arXiv:1801.04381); Howard et al. 2019 (arXiv:1905.02244), tables 1
and 2; Tan and Le 2019 (arXiv:1905.11946), table 1; Tan et al. 2019 (arXiv:1807.11626), figure 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from .layers import (
    Activation,
    Apply,
    SqueezeExcite,
    conv_norm,
    example,
    multiple_of_8,
    pooled_head,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class InvertedResidual(nn.Module):
    """1x1 expansion (left out where it would not widen), depthwise, gate, linear 1x1 projection."""

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        act: Activation = nn.ReLU,
        gate: nn.Module | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(conv_norm(inputs, expanded, act=act, eps=eps))
        layers.append(
            conv_norm(expanded, expanded, kernel, stride=stride, groups=expanded, act=act, eps=eps)
        )
        if gate is not None:
            layers.append(gate)
        layers.append(conv_norm(expanded, outputs, act=None, eps=eps))
        self.branch = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """MobileNetV2; rows are (expansion, channels, repeats, stride)."""

    ROWS = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(self, *, width: float = 1.0, num_classes: int = 1000, size: int = 64) -> None:
        super().__init__()
        channels, last = multiple_of_8(32 * width), multiple_of_8(1280 * max(1.0, width))
        layers: list[nn.Module] = [conv_norm(3, channels, 3, stride=2, act=nn.ReLU6)]
        for expansion, rows, repeats, stride in self.ROWS:
            outputs = multiple_of_8(rows * width)
            for index in range(repeats):
                layers.append(
                    InvertedResidual(
                        channels,
                        expansion * channels,
                        outputs,
                        stride=stride if index == 0 else 1,
                        act=nn.ReLU6,
                    )
                )
                channels = outputs
        self.features = nn.Sequential(*layers, conv_norm(channels, last, act=nn.ReLU6))
        self.head = pooled_head(last, num_classes, dropout=0.2)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


# Rows of MobileNetV3: (kernel, expanded channels, channels, squeeze-excite, hard swish, stride).
V3_SMALL = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
V3_LARGE = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)


class MobileNetV3(nn.Module):
    """MobileNetV3: squeeze-excite with hard sigmoid, hard swish, a hidden layer in the head."""

    def __init__(
        self,
        rows: Sequence[tuple[int, int, int, bool, bool, int]],
        hidden: int,
        *,
        width: float = 1.0,
        num_classes: int = 1000,
        size: int = 64,
    ) -> None:
        super().__init__()
        channels, eps = multiple_of_8(16 * width), 1e-3
        layers: list[nn.Module] = [conv_norm(3, channels, 3, stride=2, act=nn.Hardswish, eps=eps)]
        for kernel, wide, narrow, gated, hard_swish, stride in rows:
            expanded, outputs = multiple_of_8(wide * width), multiple_of_8(narrow * width)
            squeezed = multiple_of_8(expanded / 4)
            layers.append(
                InvertedResidual(
                    channels,
                    expanded,
                    outputs,
                    kernel=kernel,
                    stride=stride,
                    act=nn.Hardswish if hard_swish else nn.ReLU,
                    gate=SqueezeExcite(expanded, squeezed, gate=nn.Hardsigmoid) if gated else None,
                    eps=eps,
                )
            )
            channels = outputs
        layers.append(conv_norm(channels, 6 * channels, act=nn.Hardswish, eps=eps))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6 * channels, hidden),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(hidden, num_classes),
        )
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def mobilenet_v3_small(
    *, width: float = 1.0, num_classes: int = 1000, size: int = 64
) -> MobileNetV3:
    """MobileNetV3-Small."""
    return MobileNetV3(V3_SMALL, 1024, width=width, num_classes=num_classes, size=size)


def mobilenet_v3_large(
    *, width: float = 1.0, num_classes: int = 1000, size: int = 64
) -> MobileNetV3:
    """MobileNetV3-Large."""
    return MobileNetV3(V3_LARGE, 1280, width=width, num_classes=num_classes, size=size)


class EfficientNetB0(nn.Module):
    """EfficientNet-B0; rows are (expansion, kernel, stride, channels, repeats).

    Stochastic depth, inert in evaluation, is left out.
    """

    ROWS = (
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )

    def __init__(self, *, width: float = 1.0, num_classes: int = 1000, size: int = 64) -> None:
        super().__init__()
        channels = multiple_of_8(32 * width)
        layers: list[nn.Module] = [conv_norm(3, channels, 3, stride=2, act=nn.SiLU)]
        for expansion, kernel, stride, rows, repeats in self.ROWS:
            outputs = multiple_of_8(rows * width)
            for index in range(repeats):
                expanded = expansion * channels
                layers.append(
                    InvertedResidual(
                        channels,
                        expanded,
                        outputs,
                        kernel=kernel,
                        stride=stride if index == 0 else 1,
                        act=nn.SiLU,
                        gate=SqueezeExcite(expanded, max(1, channels // 4), act=nn.SiLU),
                    )
                )
                channels = outputs
        self.features = nn.Sequential(*layers, conv_norm(channels, 4 * channels, act=nn.SiLU))
        self.head = pooled_head(4 * channels, num_classes, dropout=0.2)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class MnasNet(nn.Module):
    """MnasNet-A1 without gates ("1.0"); rows are (expansion, kernel, stride, channels, repeats)."""

    ROWS = (
        (3, 3, 2, 24, 3),
        (3, 5, 2, 40, 3),
        (6, 5, 2, 80, 3),
        (6, 3, 1, 96, 2),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )

    def __init__(self, *, width: float = 1.0, num_classes: int = 1000, size: int = 64) -> None:
        super().__init__()
        stem, channels = multiple_of_8(32 * width), multiple_of_8(16 * width)
        layers: list[nn.Module] = [
            conv_norm(3, stem, 3, stride=2),
            conv_norm(stem, stem, 3, groups=stem),
            conv_norm(stem, channels, act=None),
        ]
        for expansion, kernel, first_stride, rows, repeats in self.ROWS:
            outputs = multiple_of_8(rows * width)
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                layers.append(
                    InvertedResidual(
                        channels, expansion * channels, outputs, kernel=kernel, stride=stride
                    )
                )
                channels = outputs
        self.features = nn.Sequential(*layers, conv_norm(channels, 1280))
        self.head = nn.Sequential(
            Apply(lambda x: x.mean([2, 3])), nn.Dropout(0.2), nn.Linear(1280, num_classes)
        )
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
