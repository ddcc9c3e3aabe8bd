"""The organisers' baselines of DCASE task 1: 2020 (subtask B), 2021 (subtask A) and 2022.

Written from the network summaries and configurations of their published systems. Tensors are
(batch, channel, frequency, time); inputs are 40 log-mel bands, window 40 ms, hop 20 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

BANDS = 40
FIRST_POOL = 5
KERAS = {"eps": 1e-3, "momentum": 0.01}
"""Keras' defaults of batch normalisation, momentum in PyTorch's sense (0.99 there)."""


@dataclass(frozen=True)
class Layout:
    """Layout that differs from year to year.

    Attributes:
        widths: Channels of the 7x7 convolutions. The last but one is pooled by 5 x 5.
        last_pool: Frequency and time of the last pooling.
        classes: Number of outputs.
        frames: Time frames of an input.
        over_frequency: True if batch normalisation is over frequency rows, not channels.
    """

    widths: tuple[int, ...]
    last_pool: tuple[int, int]
    classes: int
    frames: int
    over_frequency: bool = False


LAYOUTS = {
    2020: Layout((32, 64), (4, 100), classes=3, frames=500, over_frequency=True),
    2021: Layout((16, 16, 32), (4, 100), classes=10, frames=500),
    # The text of the 2022 page says (4, 100); its configuration and summary say (4, 10).
    2022: Layout((16, 16, 32), (4, 10), classes=10, frames=51),
}


class FrequencyNorm(nn.Module):
    """Batch normalisation of every frequency row, over channels, time and batch."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(rows, **KERAS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, channel, frequency, time); the shape is kept."""
        # (b, c, f, t) -> (b, f, c, t) and back: BatchNorm2d normalises dimension 1.
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class DCASEBaseline(nn.Module):
    """The official network of a year.

    | year | parameters | published |
    |---|---|---|
    | 2020 | 115,219 without normalisation, and 96 | 450.1 KB of 1024: 4 bytes each of 115,219 |
    | 2021 | 46,118, and 128 running statistics | 46,246 in all; 90.3 KB of 1024 in half precision |
    | 2022 | 46,118, as in 2021 | 46,512 bytes of int8 weights and int32 biases, norms folded in |

    2020 normalises over the frequency axis: its summary prints 160 = 4 x 40 and 32 = 4 x 8 entries
    (the configuration asks for the last axis, which would be 128 and 256). Every year has
    convolutions and dense layers with bias, "same" padding, dropout of 0.3, and Keras' start:
    Glorot-uniform convolutions, dense weights uniform in +-0.05, biases 0. The softmax at the end
    is left to the loss.

    Args:
        year: 2020, 2021 or 2022.

    Attributes:
        example_input_array: Zeros (1, 1, 40, frames), 500 frames for 10 s, 51 for 1 s; neither
            parameter nor buffer.

    Raises:
        ValueError: If there is no such baseline.
    """

    def __init__(self, year: int) -> None:
        super().__init__()
        if year not in tuple(LAYOUTS):  # by comparison: what is asked for may have no hash
            known = ", ".join(map(str, LAYOUTS))
            raise ValueError(
                f"DCASEBaseline({year!r}): baselines of {known} are known; give the year as an int."
            )
        layout = LAYOUTS[year]
        self.features = nn.Sequential(*_convolutions(layout))
        self.classifier = nn.Sequential(
            # (batch, channel, 2, 1) -> (batch, 2 * channel): 40 bands are pooled by 5 and by 4.
            nn.Flatten(),
            nn.Linear(2 * layout.widths[-1], 100),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(100, layout.classes),
        )
        self.apply(_start_as_keras)
        self.example_input_array = torch.zeros(1, 1, BANDS, layout.frames)

    def forward(self, x: Tensor) -> Tensor:
        """Log-mel spectrograms (batch, 1, 40, frames) -> class logits (batch, classes)."""
        return self.classifier(self.features(x))


def _convolutions(layout: Layout) -> Iterator[nn.Module]:
    """Convolution, norm and ReLU for every width; pooling and dropout after the last two."""
    pools = {len(layout.widths) - 2: FIRST_POOL, len(layout.widths) - 1: layout.last_pool}
    rows = BANDS
    for index, (inputs, outputs) in enumerate(pairwise((1, *layout.widths))):
        yield nn.Conv2d(inputs, outputs, 7, padding=3)  # "same"
        yield FrequencyNorm(rows) if layout.over_frequency else nn.BatchNorm2d(outputs, **KERAS)
        yield nn.ReLU()
        if index in pools:
            yield nn.MaxPool2d(pools[index])
            yield nn.Dropout(0.3)
            rows //= FIRST_POOL


def _start_as_keras(module: nn.Module) -> None:
    """The initialisers that the configurations name."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Linear):
        nn.init.uniform_(module.weight, -0.05, 0.05)
    else:
        return
    nn.init.zeros_(module.bias)
