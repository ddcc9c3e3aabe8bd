"""CP-ResNet, a residual network whose receptive field is kept small on purpose.

Written from K. Koutini, H. Eghbal-zadeh, M. Dorfer, G. Widmer, "The Receptive Field as a
Regularizer in Deep Convolutional Neural Networks for Acoustic Scene Classification", EUSIPCO 2019,
and K. Koutini, H. Eghbal-zadeh, G. Widmer, "Receptive-Field-Regularized CNN Variants for Acoustic
Scene Classification", DCASE Workshop 2019; paddings and the default rho = 5 are those of the
authors' published configuration. It is the baseline of the seeds of 2020 and 2021. Tensors are
(batch, channel, frequency, time).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.sizes import at_least

BLOCKS_PER_STAGE = 4
GREATEST_RHO = 22
"""Convolutions in residual blocks, without the two of the first block, whose kernels are fixed."""


def kernel_sizes(rho: int) -> list[tuple[int, int]]:
    """Kernel sizes (first, second convolution) of the twelve residual blocks.

    The first block has kernels 3 and 1. Of the 22 convolutions after it, the first `rho` are 3x3
    and all later ones 1x1, which see no further.
    """
    sizes = [3, 1, *(3 if index < rho else 1 for index in range(GREATEST_RHO))]
    return list(zip(sizes[::2], sizes[1::2], strict=True))


def he_normal(module: nn.Module) -> None:
    """Start convolutions from He's normal distribution over the fan-in, as the authors do.

    Their code then applies Fixup (zeros in the last convolution of every block and of the network).
    It is left out here: the batch normalisations do its work, and a weight that starts at zero
    says nothing about its importance.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


class ResidualBlock(nn.Module):
    """`relu(norm(conv2(relu(bn(conv1(x))))) + shortcut(x))`; frequency and time are kept.

    The shortcut is the identity, or a 1x1 convolution with batch normalisation where the channels
    change.

    Args:
        inputs: Channels of the input.
        outputs: Channels of both convolutions.
        kernels: Odd kernel sizes of the two convolutions.
        norm: Normalisation after the second convolution, of `outputs` channels.
    """

    def __init__(
        self, inputs: int, outputs: int, kernels: tuple[int, int], norm: nn.Module
    ) -> None:
        super().__init__()
        first, second = kernels
        self.conv1 = nn.Conv2d(inputs, outputs, first, padding=first // 2, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, second, padding=second // 2, bias=False)
        self.norm2 = norm
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frequency, time) -> (batch, outputs, frequency, time)."""
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class CPResNet(nn.Module):
    """CP-ResNet: 898,580 parameters with 64 channels, rho = 5 and 10 classes; 896,774 with 3.

    The DCASE 2020 report prints "887K" for 3 classes, a slip for 897K: its own size of 3,588 KB is
    four times 897. A stem and three stages of four residual blocks, with 1, 2, and 4 times
    `channels`; max-pooling halves frequency and time after blocks 1, 2 and 4. With rho from 0 to 7
    an output sees 23, 31, 39, 55, 71, 87, 103 or 135 rows and frames of the input.

    Args:
        channels: Width of the stem and the first stage.
        rho: How many convolutions after the first block are 3x3, 0 to 22 (`kernel_sizes`).
        num_classes: Number of outputs.
        in_channels: Channels of the input; the papers use stereo.
        mels: Frequency rows of the example input, at least 17.
        frames: Time frames of the example input, at least 17; 431 are 10 s at the authors' hop of
            512 samples at 22,050 Hz.

    Attributes:
        example_input_array: Zeros (1, in_channels, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size cannot be built, or `rho` is out of range.
    """

    def __init__(
        self,
        channels: int = 64,
        rho: int = 5,
        num_classes: int = 3,
        in_channels: int = 2,
        *,
        mels: int = 256,
        frames: int = 431,
    ) -> None:
        super().__init__()
        at_least(1, "CPResNet", channels=channels, num_classes=num_classes, in_channels=in_channels)
        at_least(17, "CPResNet", mels=mels, frames=frames)  # the unpadded stem and three halvings
        if not 0 <= rho <= GREATEST_RHO:
            raise ValueError(
                f"CPResNet(rho={rho}): rho counts the 3x3 kernels among the {GREATEST_RHO} "
                f"convolutions after the first block, so it must be from 0 to {GREATEST_RHO}."
            )
        at_least(0, "CPResNet", rho=rho)
        # Padding 1, not 2, is what the authors have: 256 rows become 127.
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 5, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        stages = (channels, 2 * channels, 4 * channels)
        widths = (channels, *(width for width in stages for _ in range(BLOCKS_PER_STAGE)))
        block1, block2, block3, block4, *later = (
            ResidualBlock(inputs, outputs, kernels, nn.BatchNorm2d(outputs))
            for (inputs, outputs), kernels in zip(pairwise(widths), kernel_sizes(rho), strict=True)
        )
        self.stage1 = nn.Sequential(
            block1, nn.MaxPool2d(2), block2, nn.MaxPool2d(2), block3, block4, nn.MaxPool2d(2)
        )
        self.stage2 = nn.Sequential(*later[:BLOCKS_PER_STAGE])
        self.stage3 = nn.Sequential(*later[BLOCKS_PER_STAGE:])
        self.classifier = nn.Sequential(
            nn.Conv2d(4 * channels, num_classes, 1, bias=False), nn.BatchNorm2d(num_classes)
        )
        self.apply(he_normal)
        self.example_input_array = torch.zeros(1, in_channels, mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Spectrograms (batch, in_channels, mels, frames) -> class logits (batch, classes)."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.classifier(x).mean(dim=(2, 3))
