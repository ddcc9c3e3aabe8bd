"""Inception networks in their inference form, without the auxiliary heads.

Sources: Szegedy et al. 2015 (arXiv:1409.4842), table 1, in the BatchNorm form; Szegedy et al. 2016
(arXiv:1512.00567), table 1 and figures 5 to 7 with the 7x7 factorised.
"""

from __future__ import annotations

from torch import Tensor, nn

from .layers import Branches, conv_norm, example, pooled_head

EPS = 1e-3


def unit(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int] = 1,
    stride: int = 1,
    padding: int | None = None,
) -> nn.Sequential:
    """Convolution, BatchNorm (eps 1e-3), ReLU."""
    return conv_norm(inputs, outputs, kernel, stride=stride, padding=padding, eps=EPS)


def inception(
    inputs: int, one: int, to_three: int, three: int, to_five: int, five: int, pooled: int
) -> Branches:
    """Four branches of GoogLeNet. The "5x5" branch has 3x3 kernels, as in the weights in use."""
    return Branches(
        unit(inputs, one),
        nn.Sequential(unit(inputs, to_three), unit(to_three, three, 3)),
        nn.Sequential(unit(inputs, to_five), unit(to_five, five, 3)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), unit(inputs, pooled)),
    )


class GoogLeNet(nn.Module):
    """GoogLeNet with BatchNorm."""

    def __init__(self, *, num_classes: int = 1000, size: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            unit(3, 64, 7, 2),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            unit(64, 64),
            unit(64, 192, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            inception(192, 64, 96, 128, 16, 32, 32),
            inception(256, 128, 128, 192, 32, 96, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            inception(480, 192, 96, 208, 16, 48, 64),
            inception(512, 160, 112, 224, 24, 64, 64),
            inception(512, 128, 128, 256, 24, 64, 64),
            inception(512, 112, 144, 288, 32, 64, 64),
            inception(528, 256, 160, 320, 32, 128, 128),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            inception(832, 256, 160, 320, 32, 128, 128),
            inception(832, 384, 192, 384, 48, 128, 128),
        )
        self.head = pooled_head(1024, num_classes, dropout=0.2)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def block_a(inputs: int, pooled: int) -> Branches:
    """35x35 grid: 1x1; 5x5; two 3x3; pooled."""
    return Branches(
        unit(inputs, 64),
        nn.Sequential(unit(inputs, 48), unit(48, 64, 5)),
        nn.Sequential(unit(inputs, 64), unit(64, 96, 3), unit(96, 96, 3)),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), unit(inputs, pooled)),
    )


def block_b(inputs: int) -> Branches:
    """35x35 to 17x17; the pooled branch hands its input on as it is."""
    return Branches(
        unit(inputs, 384, 3, 2, 0),
        nn.Sequential(unit(inputs, 64), unit(64, 96, 3), unit(96, 96, 3, 2, 0)),
        nn.MaxPool2d(3, 2),
    )


def block_c(inputs: int, inner: int) -> Branches:
    """17x17 grid: 7x7 convolutions factorised into 1x7 and 7x1."""
    return Branches(
        unit(inputs, 192),
        nn.Sequential(unit(inputs, inner), unit(inner, inner, (1, 7)), unit(inner, 192, (7, 1))),
        nn.Sequential(
            unit(inputs, inner),
            unit(inner, inner, (7, 1)),
            unit(inner, inner, (1, 7)),
            unit(inner, inner, (7, 1)),
            unit(inner, 192, (1, 7)),
        ),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), unit(inputs, 192)),
    )


def block_d(inputs: int) -> Branches:
    """17x17 to 8x8."""
    return Branches(
        nn.Sequential(unit(inputs, 192), unit(192, 320, 3, 2, 0)),
        nn.Sequential(
            unit(inputs, 192),
            unit(192, 192, (1, 7)),
            unit(192, 192, (7, 1)),
            unit(192, 192, 3, 2, 0),
        ),
        nn.MaxPool2d(3, 2),
    )


def block_e(inputs: int) -> Branches:
    """8x8 grid: two branches fork again, a concatenation inside a concatenation."""
    return Branches(
        unit(inputs, 320),
        nn.Sequential(unit(inputs, 384), Branches(unit(384, 384, (1, 3)), unit(384, 384, (3, 1)))),
        nn.Sequential(
            unit(inputs, 448),
            unit(448, 384, 3),
            Branches(unit(384, 384, (1, 3)), unit(384, 384, (3, 1))),
        ),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), unit(inputs, 192)),
    )


class InceptionV3(nn.Module):
    """Inception-V3; needs images of at least 75 x 75."""

    def __init__(self, *, num_classes: int = 1000, size: int = 75) -> None:
        super().__init__()
        self.features = nn.Sequential(
            unit(3, 32, 3, 2, 0),
            unit(32, 32, 3, 1, 0),
            unit(32, 64, 3),
            nn.MaxPool2d(3, 2),
            unit(64, 80),
            unit(80, 192, 3, 1, 0),
            nn.MaxPool2d(3, 2),
            block_a(192, 32),
            block_a(256, 64),
            block_a(288, 64),
            block_b(288),
            block_c(768, 128),
            block_c(768, 160),
            block_c(768, 160),
            block_c(768, 192),
            block_d(768),
            block_e(1280),
            block_e(2048),
        )
        self.head = pooled_head(2048, num_classes, dropout=0.5)
        self.example_input_array = example(1, 3, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
