"""Temporal convolutions with shortcuts for keyword spotting: mel bands are channels, time is left.

S. Choi, S. Seo, B. Shin, H. Byun, M. Kersner, B. Kim, D. Kim, S. Ha, "Temporal Convolution for
Real-time Keyword Spotting on Mobile Devices", Interspeech 2019, section 2.2 and figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.sizes import at_least

KERNEL = 9
"""Frames that a block's convolutions see, as in the paper."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution over time without bias, then batch normalisation."""
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm1d(outputs),
    )


class TemporalBlock(nn.Module):
    """`relu(conv(relu(conv(x))) + relu(shortcut(x)))`, the shortcut of one tap; halves time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, KERNEL, stride=2)
        self.second = _conv(outputs, outputs, KERNEL)
        self.shortcut = _conv(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, time) -> (batch, outputs, time / 2)."""
        inner = self.second(torch.relu(self.first(x)))
        return torch.relu(inner + torch.relu(self.shortcut(x)))


class TCResNet(nn.Module):
    """TC-ResNet8 (Interspeech 2019) at 1.5 times its width: 144,276 parameters for 12 classes.

    A stem of 3 taps, a block for every further width, the mean over time, dropout, a linear layer.

    Args:
        num_classes: Number of outputs.
        widths: Channels of the stem and of each block; (16, 24, 32, 48) is the paper's TC-ResNet8.
        dropout: Share of features dropped before the linear layer.
        mels: Mel bands of the input, which are the channels of the stem.
        frames: Time frames of the example input.

    Attributes:
        example_input_array: Zeros (1, 1, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1 or no whole number, or there is no width.
    """

    def __init__(
        self,
        num_classes: int = 12,
        widths: Sequence[int] = (24, 36, 48, 72),
        *,
        dropout: float = 0.2,
        mels: int = 40,
        frames: int = 101,
    ) -> None:
        super().__init__()
        if not widths:
            raise ValueError("TCResNet(widths=()): the stem needs a width.")
        at_least(1, "TCResNet", num_classes=num_classes, mels=mels, frames=frames)
        at_least(1, "TCResNet", **{f"widths[{i}]": width for i, width in enumerate(widths)})
        self.stem = nn.Sequential(*_conv(mels, widths[0], 3), nn.ReLU())
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(*(TemporalBlock(*pair) for pair in pairs))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_classes)
        self.example_input_array = torch.zeros(1, 1, mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel spectrograms (batch, 1, mels, frames) -> class logits (batch, classes)."""
        x = self.blocks(self.stem(x.flatten(1, 2))).mean(dim=2)
        return self.classifier(self.dropout(x))
