"""DS-CNN for keywords: the network of MLPerf Tiny's keyword spotting.

Y. Zhang, N. Suda, L. Lai, V. Chandra, "Hello Edge: Keyword Spotting on Microcontrollers", 2017,
section 3.6, in the size and with the input that C. Banbury et al., "MLPerf Tiny Benchmark", NeurIPS
2021, section 4 take.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.separable import Separable
from models.sizes import at_least


class DSCNN(nn.Module):
    """A convolution of 10 frames x 4 coefficients, separable ones, the mean, a linear layer.

    With the defaults 24,908 parameters and running statistics. PyTorch pads alike on both sides:
    the first convolution sees five frames of zeros before the clip and four behind it, where
    TensorFlow's SAME has four and five.

    Args:
        num_classes: Number of outputs.
        width: Channels of every layer.
        blocks: Separable convolutions.
        coefficients: Rows of the example input: 10 coefficients of MFCC in the benchmark.
        frames: Time frames of the example input.

    Attributes:
        example_input_array: Zeros (1, 1, coefficients, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1 or no whole number.
    """

    def __init__(
        self,
        num_classes: int = 12,
        width: int = 64,
        blocks: int = 4,
        *,
        coefficients: int = 10,
        frames: int = 49,
    ) -> None:
        super().__init__()
        at_least(1, "DSCNN", num_classes=num_classes, width=width, blocks=blocks)
        at_least(1, "DSCNN", coefficients=coefficients, frames=frames)
        self.stem = nn.Conv2d(1, width, (4, 10), stride=2, padding=(1, 5))
        self.norm = nn.BatchNorm2d(width)
        self.dropout1 = nn.Dropout(0.2)
        self.blocks = nn.Sequential(*(Separable(width, width) for _ in range(blocks)))
        self.dropout2 = nn.Dropout(0.4)
        self.classifier = nn.Linear(width, num_classes)
        self.example_input_array = torch.zeros(1, 1, coefficients, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients (batch, 1, coefficients, frames) -> class logits (batch, classes)."""
        x = self.dropout1(self.norm(self.stem(x)).relu())
        x = self.dropout2(self.blocks(x)).mean(dim=(2, 3))
        return self.classifier(x)
