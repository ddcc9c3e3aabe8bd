"""Log-mel spectrograms, computed in batches on whatever device the waveform is on.

The mel scale and the area normalisation are those of M. Slaney, "Auditory Toolbox", 1998: linear
below 1 kHz, logarithmic above, triangles of equal area. Zero-padded centred frames and a periodic
Hann window, so the mel spectrogram equals `librosa.feature.melspectrogram` of the same settings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

FLOOR = 1e-6
"""Added to the mel power before the logarithm, so that digital silence stays finite; with the
default window it is 27 dB above the rounding noise of 16-bit audio."""

LEVEL, SPREAD = -7.0, 5.0
"""Rounded mean and standard deviation of the logarithms over ESC-50's folds 1 to 3. Networks and
masks work best on features around 0; as constants they leave the front end nothing to save."""


@dataclass(frozen=True, kw_only=True)
class MelSettings:
    """What a log-mel spectrogram is made of; the defaults suit five-second clips.

    Attributes:
        sample_rate: Of the waveform, in Hz.
        window: Length of a frame, in seconds.
        hop: From one frame to the next, in seconds.
        mels: Number of mel bands.
        fmin: Lower edge of the lowest band, in Hz.
        fmax: Upper edge of the highest band, in Hz, at most half the sample rate.
    """

    sample_rate: int = 16_000
    window: float = 0.064
    hop: float = 0.040
    mels: int = 64
    fmin: float = 20.0
    fmax: float = 8_000.0

    def __post_init__(self) -> None:
        """Refuse settings that name no spectrogram."""
        if self.sample_rate < 1 or self.mels < 1 or self.window_samples < 1 or self.hop_samples < 1:
            msg = f"{self}: sample_rate, mels, window and hop must be at least one (sample)."
            raise ValueError(msg)
        if not 0 <= self.fmin < self.fmax <= self.sample_rate / 2:
            msg = (
                f"{self}: 0 <= fmin < fmax <= {self.sample_rate / 2} Hz (half the rate) is needed."
            )
            raise ValueError(msg)

    @property
    def window_samples(self) -> int:
        """Length of a frame in samples; also the length of its Fourier transform."""
        return round(self.window * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        """From one frame to the next, in samples."""
        return round(self.hop * self.sample_rate)

    def frames(self, samples: int) -> int:
        """Frames of a waveform of that many samples."""
        return 1 + samples // self.hop_samples


KNEE_HZ, KNEE_MEL = 1000.0, 15.0
"""Where the mel scale turns from linear (15 mel at 1 kHz) to logarithmic."""

MEL_PER_NEPER = 27 / math.log(6.4)
"""Above the knee a factor of 6.4 in frequency is 27 mel."""


def _hz_to_mel(hz: float) -> float:
    """Slaney's mel scale."""
    if hz < KNEE_HZ:
        return hz * KNEE_MEL / KNEE_HZ
    return KNEE_MEL + MEL_PER_NEPER * math.log(hz / KNEE_HZ)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """The inverse of `_hz_to_mel`, elementwise."""
    above = KNEE_HZ * np.exp((mel - KNEE_MEL) / MEL_PER_NEPER)
    return np.where(mel < KNEE_MEL, mel * KNEE_HZ / KNEE_MEL, above)


def mel_filters(settings: MelSettings) -> Tensor:
    """Triangular filters (mels, window_samples // 2 + 1), each of area one over its hertz.

    Raises:
        ValueError: If a band is so narrow that it holds no frequency of the transform.
    """
    edges = _mel_to_hz(
        np.linspace(_hz_to_mel(settings.fmin), _hz_to_mel(settings.fmax), settings.mels + 2)
    )
    bins = np.fft.rfftfreq(settings.window_samples, 1 / settings.sample_rate)
    lower, centre, upper = (edges[i : i + settings.mels, None] for i in range(3))
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    filters = np.maximum(0, np.minimum(rising, falling)) * 2 / (upper - lower)
    empty = int((filters.sum(axis=1) == 0).sum())
    if empty:
        msg = (
            f"{settings}: {empty} of {settings.mels} mel bands are narrower than the "
            f"{bins[1]:.1f} Hz between two bins. Take a longer window, fewer mels or a higher fmin."
        )
        raise ValueError(msg)
    return torch.from_numpy(filters).float()


class LogMel(nn.Module):
    """Waveforms (batch, samples) in [-1, 1] -> log-mel spectrograms (batch, 1, mels, frames).

    `(log(power + FLOOR) - LEVEL) / SPREAD`, natural logarithm. It has no parameters, and its two
    buffers follow the settings and are not saved.

    Args:
        settings: What to compute.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, settings: MelSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or MelSettings()
        window = torch.hann_window(self.settings.window_samples, periodic=True)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", mel_filters(self.settings), persistent=False)

    def mel_power(self, waveform: Tensor) -> Tensor:
        """Mel power before the logarithm, (batch, samples) -> (batch, mels, frames)."""
        size = self.settings.window_samples
        spectrum = torch.stft(
            waveform,
            n_fft=size,
            hop_length=self.settings.hop_samples,
            window=self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        return self.filters @ (spectrum.real.square() + spectrum.imag.square())

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, 1, mels, frames).

        Raises:
            ValueError: If the waveform is not a batch of float samples.
        """
        if waveform.ndim != 2 or not waveform.is_floating_point():
            msg = (
                f"LogMel got {waveform.dtype} of shape {tuple(waveform.shape)}: it takes float "
                "waveforms (batch, samples) between -1 and 1."
            )
            raise ValueError(msg)
        log = torch.log(self.mel_power(waveform) + FLOOR)
        return ((log - LEVEL) / SPREAD).unsqueeze(1)
