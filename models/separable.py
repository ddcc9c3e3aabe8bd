"""A convolution of each channel by itself, then one of a single tap across channels.

A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications", 2017, figure 3; with biases, as MLPerf Tiny's reference networks have them.
"""

from __future__ import annotations

from torch import Tensor, nn


class Separable(nn.Module):
    """`relu(norm(pointwise(relu(norm(depthwise(x))))))`, the first of 3 x 3 taps.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Of the depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs)
        self.norm1 = nn.BatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, both divided by the stride)."""
        x = self.norm1(self.depthwise(x)).relu()
        return self.norm2(self.pointwise(x)).relu()
