"""The rival of `benchmarks.speed.training`: BC-ResNet-ASC written the straightforward way.

What a reader of B. Kim, S. Yang, J. Kim, S. Chang, "Domain Generalization on Efficient Acoustic
Scene Classification using Residual Normalization", DCASE Workshop 2021, would write first: layers
in the order of Table 1, features by librosa clip by clip, augmentation example by example in a
`Dataset`, one mixup weight a batch. Nothing is made slow on purpose. The network is that of
`models.BCResNetASC`, weight for weight: `tests/benchmarks/test_plain.py` compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from benchmarks.common.sound import RATE
from recipes.features.logmel import MelSettings
from recipes.training.paper_plans import Training2021


class ResNorm(nn.Module):
    """Equations 1 to 3 with lambda 0.1."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 3), keepdim=True)
        var = x.var((1, 3), unbiased=False, keepdim=True)
        return 0.1 * x + (x - mean) / torch.sqrt(var + 1e-5)


class SubSpectralNorm(nn.Module):
    """Batch normalisation in each of four sub-bands."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels * 4)

    def forward(self, x: Tensor) -> Tensor:
        n, c, f, t = x.shape
        # (n, c, f, t) -> (n, c * 4, f / 4, t) and back
        return self.bn(x.view(n, c * 4, f // 4, t)).view(n, c, f, t)


class BCBlock(nn.Module):
    """Broadcasted residual block; with other channels going in than out, a transition block."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.transition = inputs != channels
        if self.transition:
            self.conv = nn.Conv2d(inputs, channels, 1, bias=False)
            self.bn = nn.BatchNorm2d(channels)
        depthwise = partial(nn.Conv2d, channels, channels, groups=channels, bias=False)
        self.frequency = depthwise((3, 1), padding=(1, 0))
        self.ssn = SubSpectralNorm(channels)
        self.time = depthwise((1, 3), padding=(0, 1))
        self.time_bn = nn.BatchNorm2d(channels)
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.transition:
            x = nn.functional.relu(self.bn(self.conv(x)))
        x = self.ssn(self.frequency(x))
        y = x.mean(2, keepdim=True)
        y = nn.functional.silu(self.time_bn(self.time(y)))
        y = self.dropout(self.mix(y))
        x = x + y
        if not self.transition:
            x = x + shortcut
        return nn.functional.relu(x)


class PlainBCResNetASC(nn.Module):
    """Table 1 for a base width and ten classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        c1, c2, c3, c4 = width, width * 3 // 2, width * 2, width * 5 // 2
        self.layers = nn.Sequential(
            ResNorm(),
            nn.Conv2d(1, 2 * width, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            BCBlock(2 * width, c1),
            BCBlock(c1, c1),
            ResNorm(),
            nn.MaxPool2d(2),
            BCBlock(c1, c2),
            BCBlock(c2, c2),
            ResNorm(),
            nn.MaxPool2d(2),
            BCBlock(c2, c3),
            BCBlock(c3, c3),
            ResNorm(),
            BCBlock(c3, c4),
            BCBlock(c4, c4),
            BCBlock(c4, c4),
            ResNorm(),
            nn.Conv2d(c4, 10, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, mels, frames) -> logits (batch, 10)."""
        return self.layers(x).mean((2, 3))


def spectrum_words(mels: MelSettings) -> dict[str, int]:
    """Window and hop by librosa's names."""
    window, hop = mels.window_samples, mels.hop_samples
    return {"n_fft": mels.fft_samples, "win_length": window, "hop_length": hop}


def filter_words(mels: MelSettings) -> dict[str, float]:
    """Mel filters by librosa's names."""
    return {"sr": mels.sample_rate, "n_mels": mels.mels, "fmin": mels.fmin, "fmax": mels.fmax}


def log_mel(clip: np.ndarray, settings: MelSettings) -> np.ndarray:
    """float32 (..., samples) between -1 and 1 to log-mels (..., mels, frames) in dB."""
    words = {**spectrum_words(settings), **filter_words(settings)}
    return librosa.power_to_db(librosa.feature.melspectrogram(y=clip, **words))


class KeptFilters:
    """The same by a reader who noticed that librosa makes the mel filters anew at every call."""

    def __init__(self, settings: MelSettings) -> None:
        self.spectrum = spectrum_words(settings)
        self.filters = librosa.filters.mel(n_fft=settings.fft_samples, **filter_words(settings))

    def log_mel(self, clip: np.ndarray) -> np.ndarray:
        return librosa.power_to_db(self.filters @ np.abs(librosa.stft(clip, **self.spectrum)) ** 2)


def roll_and_mask(x: np.ndarray, plan: Training2021, rng: np.random.Generator) -> np.ndarray:
    """One spectrogram (mels, frames), rolled in time, two masks along each axis."""
    most = round(plan.roll / plan.hop)
    x = np.roll(x, rng.integers(-most, most + 1), axis=1)
    fill = x.mean()
    for _ in range(2):
        for along, widest in ((x, plan.bands), (x.T, plan.frames)):
            width = rng.integers(0, min(widest, len(along)) + 1)
            start = rng.integers(0, len(along) - width + 1)
            along[start : start + width] = fill
    return x


class Spectrograms(Dataset[tuple[Tensor, int]]):
    """Log-mels made beforehand, (mels, frames) each, augmented one by one."""

    def __init__(
        self, spectrograms: Sequence[np.ndarray], labels: np.ndarray, plan: Training2021
    ) -> None:
        self.spectrograms, self.labels, self.plan = spectrograms, labels, plan
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        """Clips."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """(1, mels, frames) and its label."""
        x = roll_and_mask(self.spectrogram(index), self.plan, self.rng)
        return torch.from_numpy(x)[None], int(self.labels[index])

    def spectrogram(self, index: int) -> np.ndarray:
        return self.spectrograms[index]


class Recordings(Spectrograms):
    """Waveforms, float32 (samples,) each; the log-mel is made whenever a clip is asked for."""

    def __init__(
        self,
        recordings: Sequence[np.ndarray],
        labels: np.ndarray,
        plan: Training2021,
        settings: MelSettings,
    ) -> None:
        super().__init__((), labels, plan)
        self.recordings, self.settings = recordings, settings

    def spectrogram(self, index: int) -> np.ndarray:
        return log_mel(self.recordings[index], self.settings)


def train_epoch(
    model: nn.Module,
    loader: DataLoader[tuple[Tensor, int]],
    optimizer: Optimizer,
    plan: Training2021,
    device: torch.device,
) -> float:
    """One pass over the data with mixup; gives the mean loss."""
    rng = np.random.default_rng(0)
    criterion = nn.CrossEntropyLoss()
    model.train()
    total = 0.0
    for x, y in loader:
        x, y = x.to(device), y.to(device)  # noqa: PLW2901
        share = float(rng.beta(plan.mixup, plan.mixup))
        partner = torch.randperm(len(x), device=device)
        mixed = share * x + (1 - share) * x[partner]
        out = model(mixed)
        loss = share * criterion(out, y) + (1 - share) * criterion(out, y[partner])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


def load_all(paths: Sequence[Path]) -> list[np.ndarray]:
    """Every file at 16 kHz, mono, float32 (samples,)."""
    return [librosa.load(path, sr=RATE)[0] for path in paths]
