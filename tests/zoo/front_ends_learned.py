"""Small networks that hear a waveform through a front end that is trained, or through none.

SincNet follows Ravanelli and Bengio 2018 (arXiv:1808.00158), the Gabor filters with trained low
passes LEAF (Zeghidour et al. 2021, arXiv:2101.08596), the turned convolutions ACDNet
(Mohaimenuzzaman et al. 2021, arXiv:2103.03483), in their principle, at sizes of our own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .front_ends import (
    BINS,
    CLASSES,
    MELS,
    SAMPLES,
    WIDTH,
    Heard,
    Mel,
    Stft,
    body,
    cosines,
    guarded,
    mel_filters,
    power,
)
from .layers import example

if TYPE_CHECKING:
    from collections.abc import Callable

KERNEL = 33


class Sinc(nn.Module):
    """Band passes whose two cut-off frequencies alone are trained."""

    def __init__(self, filters: int = MELS) -> None:
        super().__init__()
        self.low = nn.Parameter(torch.linspace(0.01, 0.3, filters)[:, None])
        self.band = nn.Parameter(torch.full((filters, 1), 0.05))
        places = torch.arange(KERNEL) - KERNEL // 2
        self.register_buffer("places", places.float() * 2 * math.pi)
        self.register_buffer("window", torch.hamming_window(KERNEL, periodic=False))

    def forward(self, waveform: Tensor) -> Tensor:
        low = self.low.abs() + 1e-3
        high = torch.clamp(low + self.band.abs(), 2e-3, 0.5)
        filters = high * torch.sinc(high * self.places) - low * torch.sinc(low * self.places)
        filters = filters / filters.abs().amax(1, keepdim=True) * self.window
        return functional.conv1d(waveform[:, None], filters[:, None], stride=4)


class Gabor(nn.Module):
    """Gabor filters of trained centres and widths, squared, low passes of trained widths."""

    def __init__(self, filters: int = MELS) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.linspace(0.1, 2.5, filters)[:, None])
        self.width = nn.Parameter(torch.full((filters, 1), 4.0))
        self.low_pass = nn.Parameter(torch.full((filters, 1), 0.4))
        places = torch.arange(KERNEL) - KERNEL // 2
        self.register_buffer("places", places.float())
        self.filters = filters

    def forward(self, waveform: Tensor) -> Tensor:
        width = self.width.clamp(min=1)
        bell = torch.exp(-0.5 * (self.places / width) ** 2) / (math.sqrt(2 * math.pi) * width)
        angle = self.centre * self.places
        pairs = torch.stack([bell * angle.cos(), bell * angle.sin()], 1)
        found = functional.conv1d(
            waveform[:, None], pairs.reshape(-1, 1, KERNEL), padding=KERNEL // 2
        )
        energy = found.unflatten(1, (self.filters, 2)).square().sum(2)
        spread = self.low_pass.clamp(0.1, 0.5) * (KERNEL - 1) / 2
        kernel = torch.exp(-0.5 * (self.places / spread) ** 2)[:, None]
        pooled = functional.conv1d(
            energy, kernel, stride=16, padding=KERNEL // 2, groups=self.filters
        )
        return torch.log(pooled.clamp(min=1e-5))


class Rows(nn.Module):
    """Makes one image (batch, 1, rows, frames) of the channels of a front end."""

    def __init__(self, front: nn.Module) -> None:
        super().__init__()
        self.front = front

    def forward(self, waveform: Tensor) -> Tensor:
        return self.front(waveform).unsqueeze(1)


class Along(nn.Module):
    """A front end whose rows are the channels of one-dimensional convolutions."""

    def __init__(self, front: nn.Module, rows: int = MELS) -> None:
        super().__init__()
        self.front = front
        self.body = nn.Sequential(
            *(nn.Conv1d(rows, WIDTH, 3), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.MaxPool1d(2)),
            *(nn.Conv1d(WIDTH, WIDTH, 3), nn.BatchNorm1d(WIDTH), nn.ReLU()),
            *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES)),
        )
        self.example_input_array = example(1, SAMPLES)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.front(waveform)
        return self.body(x.squeeze(1) if x.dim() == 4 else x)


class TrainedMel(nn.Module):
    """Mel filters that are trained: bands are written by a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.power = Stft(power)
        self.filters = nn.Linear(BINS, MELS, bias=False)
        with torch.no_grad():
            self.filters.weight.copy_(mel_filters())

    def forward(self, waveform: Tensor) -> Tensor:
        powers = self.power(waveform).squeeze(1).transpose(1, 2)
        return torch.log(self.filters(powers).square() + 1e-6).transpose(1, 2)


class Turned(nn.Module):
    """Convolutions over the waveform whose channels become the rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, (1, 9), stride=(1, 2), bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, MELS, (1, 5), stride=(1, 2), bias=False)
        self.norm2 = nn.BatchNorm2d(MELS)
        self.body = body()
        self.example_input_array = example(1, 1, 1, SAMPLES)

    def forward(self, waveform: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(waveform)))
        x = torch.relu(self.norm2(self.second(x)))
        x = functional.max_pool2d(x, (1, 4)).permute((0, 2, 1, 3))
        return self.body(x)


class Raw(nn.Module):
    """One-dimensional convolutions on the waveform, with a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, WIDTH, 20, 4, bias=False)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.inner = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.depthwise = nn.Conv1d(WIDTH, WIDTH, 3, groups=WIDTH, dilation=2)
        self.point = nn.Conv1d(WIDTH, 14, 1)
        self.classifier = nn.Linear(28, CLASSES)
        self.example_input_array = example(1, 1, SAMPLES)

    def forward(self, waveform: Tensor) -> Tensor:
        x = functional.max_pool1d(torch.relu(self.norm(self.first(waveform))), 4)
        x = x + torch.relu(self.inner(x))
        x = torch.relu(self.point(self.depthwise(x)))
        return self.classifier(torch.cat([x.mean(-1), x.amax(-1)], 1))


class Product(nn.Module):
    """A trained bank, then a product with a table along rows or frames behind its channels."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.mel = Mel(guarded)
        self.first = nn.Conv2d(1, WIDTH, 3, padding=1)
        self.register_buffer("table", cosines(10))
        self.register_buffer("pool", torch.eye(21).reshape(3, 7, 21).sum(1) / 7)
        self.body = body(WIDTH)
        self.example_input_array, self.how = example(1, SAMPLES), how

    def forward(self, waveform: Tensor) -> Tensor:
        x = torch.relu(self.first(self.mel(waveform)))
        if self.how == "rows":
            return self.body(self.table @ x)
        if self.how == "frames":
            return self.body(x @ self.pool.T)
        if self.how == "linear":
            return self.body(functional.linear(x, self.pool))
        return self.body(torch.einsum("kf,bcft->bckt", self.table, x))


class Bank(nn.Module):
    """Trained filters on the waveform, then a frozen product over their energies' frames."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, MELS, 40, 8, bias=False)
        self.register_buffer("pool", torch.eye(76).reshape(19, 4, 76).sum(1) / 4)

    def forward(self, waveform: Tensor) -> Tensor:
        energy = self.filters(waveform[:, None]).square()
        return torch.log(energy @ self.pool.T + 1e-5)


class Modulation(nn.Module):
    """Trained filters on the waveform, and how fast their energies move: a transform over time."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, MELS, 40, 8, bias=False)

    def forward(self, waveform: Tensor) -> Tensor:
        energy = self.filters(waveform[:, None]).square()
        return torch.log(torch.fft.rfft(energy).abs() + 1e-5)


LEARNED: dict[str, Callable[[], nn.Module]] = {
    "sinc_rows": lambda: Heard(Rows(Sinc())),
    "sinc_channels": lambda: Along(Sinc()),
    "gabor_rows": lambda: Heard(Rows(Gabor())),
    "gabor_channels": lambda: Along(Gabor()),
    "mel_channels": lambda: Along(Mel(guarded)),
    "stft_channels": lambda: Along(Stft(power), BINS),
    "trained_mel_rows": lambda: Heard(Rows(TrainedMel())),
    "trained_mel_channels": lambda: Along(TrainedMel()),
    "modulation": lambda: Along(Modulation()),
    "turned": Turned,
    "raw": Raw,
}
"""Front ends that are trained, and networks on the waveform itself."""

BEHIND: dict[str, Callable[[], nn.Module]] = {
    **{f"table_{how}": lambda how=how: Product(how) for how in ("rows", "frames", "linear")},
    "table_einsum": lambda: Product("einsum"),
    "bank_pooled": lambda: Along(Bank()),
}
"""Products with a table along rows or frames, behind channels that a trained layer wrote."""
