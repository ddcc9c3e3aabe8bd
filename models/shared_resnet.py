"""Shared-ResNet, the 2020 low-complexity network whose residual blocks share their weights.

Written from S. Chang, J. Cho, H. Park, H. Park, S. Yun, K. Hwang, "QTI Submission to DCASE 2020:
Model Efficient Acoustic Scene Classification", technical report 2020, Table 1 and sections 2.1 and
2.2. Tensors are (batch, channel, frequency, time).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.cp_resnet import ResidualBlock, he_normal
from models.layers import SubSpectralNorm
from models.sizes import at_least


class SharedResidualBlock(nn.Module):
    """`repeats` residual blocks that share both convolutions; every normalisation is its own.

    Figure 1 and section 2.1: repeat i maps x to `relu(x + norm2[i](conv2(relu(norm1[i](conv1(x)
    )))))`. The weights count once, their multiplications `repeats` times.

    Args:
        channels: Channels of input and output.
        repeats: How often the pair of 1x1 convolutions is applied (N).
        shared: Whether all repeats use one pair; without, each has a pair of its own, the network
            that the paper's saving of "more than 30 %" is measured against.

    Raises:
        ValueError: If `channels` or `repeats` is below 1.
    """

    def __init__(self, channels: int, repeats: int, *, shared: bool = True) -> None:
        super().__init__()
        at_least(1, "SharedResidualBlock", channels=channels, repeats=repeats)
        pairs = range(1 if shared else repeats)
        self.conv1 = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in pairs)
        self.conv2 = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in pairs)
        self.norm1 = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(repeats))
        self.norm2 = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(repeats))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, frequency, time) -> the same shape."""
        for repeat, (norm1, norm2) in enumerate(zip(self.norm1, self.norm2, strict=True)):
            pair = repeat % len(self.conv1)  # always 0 where there is one
            y = torch.relu(norm1(self.conv1[pair](x)))
            x = torch.relu(x + norm2(self.conv2[pair](y)))
        return x


def _check_rows(mels: int, sub_bands: int) -> None:
    """Refuse a number of rows that SubSpectralNorm cannot split at every one of its resolutions."""
    rows = (mels + 1) // 2  # the stem rounds up, the poolings down
    split = [rows >> halvings for halvings in range(4)]
    if any(n < sub_bands or n % sub_bands for n in split):
        multiple = 16 * sub_bands
        lower = max(mels // multiple, 1) * multiple
        raise ValueError(
            f"SharedResNet(mels={mels}): the frequency axis is halved four times and split into "
            f"{sub_bands} sub-bands after each, so mels must be a multiple of {multiple}: {lower} "
            f"or {lower + multiple} would work."
        )


class SharedResNet(nn.Module):
    """Shared-ResNet: 603,668 parameters with 64 channels and 10 classes ("604K"); 601,862 with 3.

    The report prints "601K" for 3 classes: cut off, not rounded. What it leaves open is chosen so
    that its other counts come out: convolutions have no bias, shortcuts that change the channels
    (RB 5 and RB 6) have batch normalisation, SubSpectralNorm has one affine pair a channel, and the
    last convolution a batch normalisation. Pruning 60 % of the convolutions' 593,792 weights leaves
    245,587 parameters ("246K") or 491,174 bytes in half precision ("491KB").

    The stem pads by 2, where the CP-ResNet that it descends from pads by 1: 256 rows must become
    128, not 127, for two sub-bands.

    Args:
        channels: Base width c.
        num_classes: Number of outputs.
        in_channels: Channels of the input; the paper uses stereo.
        repeats: Residual blocks that share weights, twice (N).
        sub_bands: Sub-bands of every `SubSpectralNorm` (S).
        mels: Frequency rows of the example input, a multiple of `16 * sub_bands`.
        frames: Time frames of the example input, at least 15. The paper gives 10 s but no hop; 431
            are those of CP-ResNet, an assumption.
        shared: Whether weights are shared; the unshared twin has 931,348 parameters with 10
            classes.

    Attributes:
        example_input_array: Zeros (1, in_channels, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size cannot be built, saying which would work.
    """

    def __init__(
        self,
        channels: int = 64,
        num_classes: int = 3,
        in_channels: int = 2,
        repeats: int = 3,
        *,
        sub_bands: int = 2,
        mels: int = 256,
        frames: int = 431,
        shared: bool = True,
    ) -> None:
        super().__init__()
        name, c = "SharedResNet", channels
        at_least(1, name, channels=c, num_classes=num_classes, in_channels=in_channels)
        at_least(1, name, repeats=repeats, sub_bands=sub_bands)
        at_least(1, name, mels=mels)
        at_least(15, name, frames=frames)
        _check_rows(mels, sub_bands)

        def block(inputs: int, outputs: int, first: int, second: int) -> ResidualBlock:
            norm = SubSpectralNorm(outputs, sub_bands, shared=True)
            return ResidualBlock(inputs, outputs, (first, second), norm)

        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, c, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            block(c, c, 3, 1),  # RB 1
            nn.MaxPool2d(2),
            block(c, c, 3, 3),  # RB 2
            nn.MaxPool2d(2),
            block(c, c, 3, 3),  # RB 3
            block(c, c, 3, 3),  # RB 4
            nn.MaxPool2d(2),
            block(c, 2 * c, 1, 1),  # RB 5
            SharedResidualBlock(2 * c, repeats, shared=shared),  # SRB 1
            block(2 * c, 4 * c, 1, 1),  # RB 6
            SharedResidualBlock(4 * c, repeats, shared=shared),  # SRB 2
        )
        self.classifier = nn.Sequential(
            nn.Conv2d(4 * c, num_classes, 1, bias=False), nn.BatchNorm2d(num_classes)
        )
        self.apply(he_normal)
        self.example_input_array = torch.zeros(1, in_channels, mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel spectrograms (batch, in_channels, mels, frames) -> class logits (batch, classes).

        The logits are means over frequency and time.
        """
        return self.classifier(self.blocks(self.stem(x))).mean(dim=(2, 3))
