"""DS-CNN, depthwise separable convolutions for keywords, in the form that MLPerf Tiny measures.

Y. Zhang, N. Suda, L. Lai, V. Chandra, "Hello Edge: Keyword Spotting on Microcontrollers",
arXiv:1711.07128, section 4 and table 7 (DS-CNN S); C. Banbury et al., "MLPerf Tiny Benchmark",
NeurIPS 2021. Tensors are (batch, channel, frequency, time).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.sizes import at_least


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A depthwise 3x3 and a pointwise convolution, each with normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class DSCNN(nn.Module):
    """DS-CNN: 23,756 parameters and 1,152 running statistics at 64 channels and 12 classes.

    MLPerf Tiny prints 24,908 for both together. A stem of 10 frames by 4 coefficients at stride 2,
    depthwise separable blocks, the mean over what is left, dropout, a linear layer. Convolutions
    have biases, as there.

    Args:
        num_classes: Number of outputs.
        channels: Width of all layers.
        blocks: Depthwise separable blocks.
        coefficients: Frequency rows of the example input: cepstral coefficients there.
        frames: Time frames of the example input.

    Attributes:
        example_input_array: Zeros (1, 1, coefficients, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below what works, or no whole number.
    """

    def __init__(
        self,
        num_classes: int = 12,
        channels: int = 64,
        blocks: int = 4,
        *,
        coefficients: int = 10,
        frames: int = 49,
    ) -> None:
        super().__init__()
        at_least(1, "DSCNN", num_classes=num_classes, channels=channels, blocks=blocks)
        at_least(2, "DSCNN", coefficients=coefficients, frames=frames)
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, (4, 10), stride=2, padding=(1, 5)),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout(0.2),
        )
        self.blocks = nn.Sequential(*(separable(channels, channels) for _ in range(blocks)))
        self.dropout = nn.Dropout(0.4)
        self.classifier = nn.Linear(channels, num_classes)
        self.example_input_array = torch.zeros(1, 1, coefficients, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Features (batch, 1, coefficients, frames) -> class logits (batch, classes)."""
        x = self.dropout(self.blocks(self.stem(x)))
        return self.classifier(x.mean(dim=(2, 3)))
