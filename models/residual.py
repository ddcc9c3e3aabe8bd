"""A plain residual network for log-mel spectrograms, the everyday baseline beside BC-ResNet.

Basic blocks of two 3x3 convolutions with batch normalisation, as in K. He, X. Zhang, S. Ren,
J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, with few channels and a
strided stem. Tensors are (batch, channel, frequency, time); inputs have one channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.sizes import at_least


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, then batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class BasicBlock(nn.Module):
    """`relu(conv(relu(conv(x))) + shortcut(x))`, the shortcut 1x1 where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, 3, stride)
        self.second = _conv(outputs, outputs, 3)
        changes = stride != 1 or inputs != outputs
        self.shortcut = _conv(inputs, outputs, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, frequency, time) -> (batch, outputs, both divided by the stride)."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class ResidualCNN(nn.Module):
    """Strided stem, stages of basic blocks, global average pooling, dropout, linear layer.

    The first stage keeps the stem's resolution, each later one halves frequency and time. With the
    defaults and 50 classes it has 324,130 parameters and 57 million MACs for 64 x 126 inputs.

    Args:
        num_classes: Number of outputs.
        widths: Channels of each stage.
        blocks: Blocks in each stage, as many as there are widths.
        dropout: Share of features dropped before the linear layer.
        mels: Frequency rows of the example input.
        frames: Time frames of the example input.

    Attributes:
        example_input_array: Zeros (1, 1, mels, frames); neither parameter nor buffer.

    Raises:
        ValueError: If a size is below 1, or `widths` and `blocks` differ in length.
    """

    def __init__(
        self,
        num_classes: int = 10,
        widths: Sequence[int] = (16, 32, 64, 96),
        blocks: Sequence[int] = (2, 2, 2, 1),
        *,
        dropout: float = 0.2,
        mels: int = 64,
        frames: int = 126,
    ) -> None:
        super().__init__()
        if not widths or len(widths) != len(blocks):
            msg = (
                f"ResidualCNN(widths={tuple(widths)}, blocks={tuple(blocks)}): one entry a stage "
                f"is needed in each, got {len(widths)} and {len(blocks)}."
            )
            raise ValueError(msg)
        at_least(1, "ResidualCNN", num_classes=num_classes, mels=mels, frames=frames)
        for stage, (width, depth) in enumerate(zip(widths, blocks, strict=True)):
            at_least(1, "ResidualCNN", **{f"widths[{stage}]": width, f"blocks[{stage}]": depth})
        self.stem = nn.Sequential(*_conv(1, widths[0], 3, stride=2), nn.ReLU())
        layers: list[nn.Module] = []
        inputs = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(BasicBlock(inputs, width, stride))
                inputs = width
        self.stages = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(inputs, num_classes)
        self.example_input_array = torch.zeros(1, 1, mels, frames)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel spectrograms (batch, 1, mels, frames) -> class logits (batch, classes)."""
        x = self.stages(self.stem(x)).mean(dim=(2, 3))
        return self.classifier(self.dropout(x))
