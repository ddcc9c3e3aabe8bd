"""Audio networks: keyword spotting, raw waveform, recurrent, attention and encoder/decoder.

Spectrograms are (batch, 1, frequency, time), waveforms (batch, 1, samples). Sources: Zhang et al.
2017 (arXiv:1711.07128) for the DS-CNN, Dai et al. 2017 (arXiv:1610.00087) for M5; the CRNN follows
Cakir et al. 2017 (arXiv:1702.06286) and the U-Net Ronneberger et al. 2015 (arXiv:1505.04597) in
their principle, at sizes of our own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .layers import conv_norm, example, pooled_head


class DSCNN(nn.Module):
    """DS-CNN "small": a 10x4 convolution and four depthwise-separable ones; 49 frames x 10 MFCC."""

    def __init__(self, *, width: int = 64, num_classes: int = 12, frames: int = 49) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(1, width, (10, 4), stride=2, padding=(5, 1))]
        for _ in range(4):
            layers += [conv_norm(width, width, 3, groups=width), conv_norm(width, width)]
        self.features = nn.Sequential(*layers)
        self.head = pooled_head(width, num_classes)
        self.example_input_array = example(1, 1, frames, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class M5(nn.Module):
    """M5: one-dimensional convolutions on the waveform (8 kHz), the first as long as 10 ms."""

    def __init__(self, *, width: int = 128, num_classes: int = 10, samples: int = 4000) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        rows = ((80, 4, width), (3, 1, width), (3, 1, 2 * width), (3, 1, 4 * width))
        for kernel, stride, outputs in rows:
            layers += [
                nn.Conv1d(channels, outputs, kernel, stride),
                nn.BatchNorm1d(outputs),
                nn.ReLU(),
                nn.MaxPool1d(4),
            ]
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)
        self.example_input_array = example(1, 1, samples)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean(-1))


class CRNN(nn.Module):
    """Three convolutions that pool frequency alone, a bidirectional GRU over time, a mean."""

    def __init__(
        self, *, width: int = 32, num_classes: int = 10, bands: int = 40, frames: int = 32
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_norm(1, width, 3),
            nn.MaxPool2d((2, 1)),
            conv_norm(width, 2 * width, 3),
            nn.MaxPool2d((2, 1)),
            conv_norm(2 * width, 2 * width, 3),
            nn.MaxPool2d((2, 1)),
        )
        self.gru = nn.GRU(2 * width * (bands // 8), 2 * width, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(4 * width, num_classes)
        self.example_input_array = example(1, 1, bands, frames)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).permute(0, 3, 1, 2).flatten(2)  # (batch, time, channel * frequency)
        states, _ = self.gru(x)
        return self.classifier(states.mean(1))


class ConvAttention(nn.Module):
    """Convolutional patches in time, one pre-norm attention block, a mean."""

    def __init__(
        self,
        *,
        width: int = 32,
        heads: int = 4,
        num_classes: int = 10,
        bands: int = 32,
        frames: int = 32,
    ) -> None:
        super().__init__()
        embedded = 2 * width
        self.features = nn.Sequential(
            conv_norm(1, width, 3, stride=2), conv_norm(width, embedded, 3, stride=2)
        )
        self.embed = nn.Linear(embedded * (bands // 4), embedded)
        self.norm1 = nn.LayerNorm(embedded)
        self.attention = nn.MultiheadAttention(embedded, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(embedded)
        self.perceptron = nn.Sequential(
            nn.Linear(embedded, 2 * embedded), nn.GELU(), nn.Linear(2 * embedded, embedded)
        )
        self.classifier = nn.Linear(embedded, num_classes)
        self.example_input_array = example(1, 1, bands, frames)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self.features(x).permute(0, 3, 1, 2).flatten(2))  # (batch, time, embedded)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.perceptron(self.norm2(x))
        return self.classifier(x.mean(1))


class UNet(nn.Module):
    """Two halvings and two transposed convolutions, each joined with the map it came from.

    The output (batch, num_classes, frequency, time) is a mask per class: its channels are classes.
    """

    def __init__(
        self, *, width: int = 16, num_classes: int = 4, bands: int = 32, frames: int = 32
    ) -> None:
        super().__init__()
        self.outer = _double(1, width)
        self.inner = _double(width, 2 * width)
        self.bottom = _double(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.rise_inner = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.join_inner = _double(4 * width, 2 * width)
        self.rise_outer = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join_outer = _double(2 * width, width)
        self.mask = nn.Conv2d(width, num_classes, 1)
        self.example_input_array = example(1, 1, bands, frames)

    def forward(self, x: Tensor) -> Tensor:
        outer = self.outer(x)
        inner = self.inner(self.pool(outer))
        x = self.rise_inner(self.bottom(self.pool(inner)))
        x = self.join_inner(torch.cat([inner, x], 1))
        x = self.join_outer(torch.cat([outer, self.rise_outer(x)], 1))
        return torch.sigmoid(self.mask(x))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv_norm(inputs, outputs, 3), conv_norm(outputs, outputs, 3))
