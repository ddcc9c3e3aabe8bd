"""Networks with recurrent layers, which are not rounded to integers."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SceneGru(nn.Module):
    """Log-mels (batch, 1, mels, frames) to logits (batch, classes), by the last state of a GRU."""

    def __init__(self, classes: int, hidden: int = 160) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, stride=(16, 4), padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.gru = nn.GRU(8, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)
        self.example_input_array = torch.zeros(1, 1, 64, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x))).mean(2).transpose(1, 2)
        return self.head(self.gru(x)[1][-1])
