"""BC-ResNet for keyword spotting, and BC-ResNet-ASC for acoustic scenes.

Written from the descriptions in B. Kim, S. Chang, J. Lee, D. Sung, "Broadcasted Residual Learning
for Efficient Keyword Spotting", Interspeech 2021, and B. Kim, S. Yang, J. Kim, S. Chang, "Domain
Generalization on Efficient Acoustic Scene Classification using Residual Normalization", DCASE
Workshop 2021 (Table 1). Tensors are (batch, channel, frequency, time); inputs have one channel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.layers import ResidualNorm, SubSpectralNorm
from models.sizes import at_least

DROPOUT = 0.1
"""Share of channels dropped at the end of a temporal branch (DCASE Workshop 2021, section 3.1)."""


class TemporalBranch(nn.Module):
    """The one-dimensional path f1 of a block: frequency mean, convolution over time, mixing."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels,
            channels,
            (1, 3),
            padding=(0, dilation),
            dilation=(1, dilation),
            groups=channels,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.SiLU()
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.dropout = nn.Dropout2d(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, frequency, time) -> (batch, channel, 1, time), to be broadcast."""
        x = x.mean(dim=2, keepdim=True)
        x = self.act(self.norm(self.depthwise(x)))
        return self.dropout(self.pointwise(x))


def _over_frequency(channels: int, stride: int) -> nn.Conv2d:
    """The depthwise (3, 1) convolution of a block's two-dimensional path."""
    return nn.Conv2d(
        channels,
        channels,
        (3, 1),
        stride=(stride, 1),
        padding=(1, 0),
        groups=channels,
        bias=False,
    )


class NormalBlock(nn.Module):
    """Broadcasted residual block that keeps its shape: `relu(x + f2(x) + f1(f2(x)))`."""

    def __init__(self, channels: int, sub_bands: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = _over_frequency(channels, 1)
        self.norm = SubSpectralNorm(channels, sub_bands)
        self.temporal = TemporalBranch(channels, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, frequency, time) -> the same shape."""
        spectral = self.norm(self.depthwise(x))
        return torch.relu(x + spectral + self.temporal(spectral))


class TransitionBlock(nn.Module):
    """First block of a stage: changes the channels, has no identity path: `relu(f2 + f1(f2))`."""

    def __init__(
        self, inputs: int, channels: int, sub_bands: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(inputs, channels, 1, bias=False)
        self.norm_in = nn.BatchNorm2d(channels)
        self.depthwise = _over_frequency(channels, stride)
        self.norm = SubSpectralNorm(channels, sub_bands)
        self.temporal = TemporalBranch(channels, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frequency, time) -> (batch, channel, frequency / stride, time)."""
        x = torch.relu(self.norm_in(self.pointwise(x)))
        spectral = self.norm(self.depthwise(x))
        return torch.relu(spectral + self.temporal(spectral))


def _stage(  # the six numbers of a row in the papers' tables
    inputs: int, channels: int, blocks: int, sub_bands: int, stride: int = 1, dilation: int = 1
) -> list[nn.Module]:
    """One transition block and `blocks - 1` normal ones."""
    return [
        TransitionBlock(inputs, channels, sub_bands, stride, dilation),
        *(NormalBlock(channels, sub_bands, dilation) for _ in range(blocks - 1)),
    ]


def _check_rows(name: str, mels: int, sub_bands: int, rows: int) -> None:
    """Refuse a number of rows that cannot be split, or of which less than `rows` would be left."""
    multiple = 8 * sub_bands
    least = math.ceil(8 * rows / multiple) * multiple
    if mels < least or mels % multiple:
        lower = max(mels // multiple * multiple, least)
        raise ValueError(
            f"{name}(mels={mels}): the frequency axis is halved three times, split into "
            f"{sub_bands} sub-bands and must have {rows} rows left, so mels must be at least "
            f"{least} and a multiple of {multiple}: {lower} or {lower + multiple} would work."
        )


def _residual_norm(weight: float | None, *, learned: bool) -> nn.Module:
    """Residual Normalization, or nothing at all where there is no weight."""
    return nn.Identity() if weight is None else ResidualNorm(weight, learned=learned)


class BCResNet(nn.Module):
    """BC-ResNet-tau (Interspeech 2021), 317,610 parameters at tau = 8 with 10 classes.

    Four stages of 2, 2, 4, 4 blocks and 8, 12, 16, 20 times tau channels; frequency is halved by
    the stem and by stages 2 and 3, time is kept and seen through dilations 1, 2, 4, 8.

    Args:
        tau: Width factor, a multiple of 0.25; the paper has 1, 1.5, 2, 3, 6 and 8.
        num_classes: Number of outputs.
        sub_bands: Sub-bands of every `SubSpectralNorm`.
        mels: Frequency rows of the example input, a multiple of `8 * sub_bands`, at least 40, of
            which three halvings leave the 5 that the classifier's kernel needs.
        frames: Time frames of the example input.

    Attributes:
        example_input_array: Zeros (1, 1, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size cannot be built, saying which would work.
    """

    def __init__(
        self,
        tau: float = 8,
        num_classes: int = 10,
        sub_bands: int = 4,
        *,
        mels: int = 256,
        frames: int = 34,
    ) -> None:
        super().__init__()
        at_least(1, "BCResNet", num_classes=num_classes, sub_bands=sub_bands)
        at_least(1, "BCResNet", mels=mels, frames=frames)
        _check_rows("BCResNet", mels, sub_bands, rows=5)  # the classifier's kernel is as high
        if not 0 < tau < float("inf") or 4 * tau != int(4 * tau):
            msg = f"BCResNet(tau={tau}): tau must be a positive multiple of 0.25."
            raise ValueError(msg)
        width = [int(factor * tau) for factor in (16, 8, 12, 16, 20, 32)]
        self.stem = nn.Sequential(
            nn.Conv2d(1, width[0], 5, stride=(2, 1), padding=2, bias=False),
            nn.BatchNorm2d(width[0]),
            nn.ReLU(),
        )
        self.stages = nn.Sequential(
            *_stage(width[0], width[1], 2, sub_bands, dilation=1),
            *_stage(width[1], width[2], 2, sub_bands, stride=2, dilation=2),
            *_stage(width[2], width[3], 4, sub_bands, stride=2, dilation=4),
            *_stage(width[3], width[4], 4, sub_bands, dilation=8),
        )
        self.classifier = nn.Sequential(
            nn.Conv2d(width[4], width[4], 5, padding=(0, 2), groups=width[4], bias=False),
            nn.Conv2d(width[4], width[5], 1, bias=False),
            nn.BatchNorm2d(width[5]),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width[5], num_classes, 1),
        )
        self.example_input_array = torch.zeros(1, 1, mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel spectrograms (batch, 1, mels, frames) -> class logits (batch, classes)."""
        return self.classifier(self.stages(self.stem(x))).flatten(1)


class BCResNetASC(nn.Module):
    """BC-ResNet-ASC (DCASE Workshop 2021, Table 1): 314,970 parameters at 80 channels, 10 classes.

    Four stages of 2, 2, 2, 3 blocks and 1, 1.5, 2, 2.5 times `channels`; frequency and time are
    halved by the stem and by max-pooling after stages 1 and 2. Residual Normalization acts on the
    input and after every stage, "a total of five" (section 2.2); here before the pooling, where the
    paper does not say. Nor does it say whether the last convolution has a bias; here it has, and
    no normalisation, which fits its parameter counts. The rows of its Table 3 are `residual_norm`
    0.1 ("+ ResNorm"), None ("Baseline"), 0 ("w/o Shortcut"), and 0.1 with `inside=False` ("w/o
    ResNorm in Network"). The receptive field of "109x109" (section 2.1) leaves out the kernels of
    the two poolings; with them it is 115 frames. Every block's frequency mean sees all rows.

    Args:
        channels: Base width c, even (10 is the paper's ASC-1, 80 its ASC-8).
        num_classes: Number of outputs.
        residual_norm: Weight lambda of the identity in Residual Normalization; None for a network
            without it.
        mels: Frequency rows of the example input, a multiple of 32.
        frames: Time frames of the example input, at least 7.
        inside: Whether the stages end in Residual Normalization too, not the input alone.
        learned: Whether the lambda of each is a parameter that starts at `residual_norm`: five
            parameters more, the paper's future work (section 4).

    Attributes:
        example_input_array: Zeros (1, 1, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size cannot be built, saying which would work, or `learned` is asked for
            without a `residual_norm` to start from.
    """

    def __init__(
        self,
        channels: int = 80,
        num_classes: int = 10,
        residual_norm: float | None = 0.1,
        mels: int = 256,
        *,
        frames: int = 34,
        inside: bool = True,
        learned: bool = False,
    ) -> None:
        super().__init__()
        sub_bands = 4
        at_least(1, "BCResNetASC", channels=channels, num_classes=num_classes, mels=mels)
        at_least(7, "BCResNetASC", frames=frames)
        _check_rows("BCResNetASC", mels, sub_bands, rows=sub_bands)
        if channels % 2:  # 1.5 c and 2.5 c must be whole
            msg = f"BCResNetASC(channels={channels}): channels must be even."
            raise ValueError(msg)
        if learned and residual_norm is None:
            msg = (
                "BCResNetASC(residual_norm=None, learned=True): a learned lambda needs a value to "
                "start from, for instance residual_norm=0.1."
            )
            raise ValueError(msg)
        within = residual_norm if inside else None
        c = [2 * channels, channels, channels * 3 // 2, channels * 2, channels * 5 // 2]
        self.norm_in = _residual_norm(residual_norm, learned=learned)
        self.stem = nn.Sequential(
            nn.Conv2d(1, c[0], 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(c[0]),
            nn.ReLU(),
        )
        self.stage1 = nn.Sequential(
            *_stage(c[0], c[1], 2, sub_bands), _residual_norm(within, learned=learned)
        )
        self.pool1 = nn.MaxPool2d(2)
        self.stage2 = nn.Sequential(
            *_stage(c[1], c[2], 2, sub_bands), _residual_norm(within, learned=learned)
        )
        self.pool2 = nn.MaxPool2d(2)
        self.stage3 = nn.Sequential(
            *_stage(c[2], c[3], 2, sub_bands), _residual_norm(within, learned=learned)
        )
        self.stage4 = nn.Sequential(
            *_stage(c[3], c[4], 3, sub_bands), _residual_norm(within, learned=learned)
        )
        self.classifier = nn.Conv2d(c[4], num_classes, 1)
        self.example_input_array = torch.zeros(1, 1, mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel spectrograms (batch, 1, mels, frames) -> class logits (batch, classes)."""
        x = self.stem(self.norm_in(x))
        x = self.pool1(self.stage1(x))
        x = self.pool2(self.stage2(x))
        x = self.classifier(self.stage4(self.stage3(x)))
        return x.mean(dim=(2, 3))
