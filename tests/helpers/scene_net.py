"""A small network for entries of one's own: three convolutions on log-mels of any front end."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SceneNet(nn.Module):
    """Log-mels (batch, 1, mels, frames) to logits (batch, classes)."""

    def __init__(self, classes: int, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(1),
            *_block(1, width, 4),
            *_block(width, 2 * width, 2),
            nn.Conv2d(2 * width, classes, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.mean(self.layers(x), dim=(2, 3))


def _block(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
