"""Log-mel spectrograms, computed in batches on whatever device the waveform is on.

The mel scale and the area normalisation are those of M. Slaney, "Auditory Toolbox", 1998: linear
below 1 kHz, logarithmic above, triangles of equal area. Zero-padded centred frames and a periodic
Hann window, so the mel spectrogram equals `librosa.feature.melspectrogram` of the same settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.data.audio import FULL_SCALE

FLOOR = 1e-6
"""Added to the mel power before the logarithm, so that digital silence stays finite; with the
default window it is 27 dB above the rounding noise of 16-bit audio."""

LEVEL, SPREAD = -7.0, 5.0
"""Rounded mean and standard deviation of the logarithms over ESC-50's folds 1 to 3. Most networks
train best on features around 0; as constants they leave the front end nothing to save."""

Taper = Callable[[int], Tensor]
"""Makes of a number of samples the window (samples,) that a frame is multiplied with."""


def hann(samples: int) -> Tensor:
    """Periodic Hann window, librosa's default."""
    return torch.hann_window(samples, periodic=True)


def hamming(samples: int) -> Tensor:
    """Periodic Hamming window: the official baselines' `hamming_asymmetric`."""
    return torch.hamming_window(samples, periodic=True)


@dataclass(frozen=True, kw_only=True)
class MelSettings:
    """Settings of a log-mel spectrogram; the defaults suit five-second clips.

    Attributes:
        sample_rate: Sample rate of the waveform, in Hz.
        window: Length of a frame, in seconds.
        hop: From one frame to the next, in seconds.
        mels: Number of mel bands.
        fmin: Lower edge of the lowest band, in Hz.
        fmax: Upper edge of the highest band, in Hz, at most half the sample rate.
        transform: Samples of the Fourier transform, with zeros on both sides of the window; None
            for the window's own.
        taper: The window's shape.
        exponent: Exponent of the magnitude: 2 for power, 1 for the official baselines' magnitude.
        equal_area: True for filters of area one over their hertz, else of height one.
        level: Taken off the logarithms, in nats.
        spread: Divisor of them after that, in nats; above 0.
    """

    sample_rate: int = 16_000
    window: float = 0.064
    hop: float = 0.040
    mels: int = 64
    fmin: float = 20.0
    fmax: float = 8_000.0
    transform: int | None = None
    taper: Taper = hann
    exponent: float = 2.0
    equal_area: bool = True
    level: float = LEVEL
    spread: float = SPREAD

    def __post_init__(self) -> None:
        """Refuse settings that name no spectrogram."""
        if self.sample_rate < 1 or self.mels < 1 or self.window_samples < 1 or self.hop_samples < 1:
            raise ValueError(
                f"sample_rate={self.sample_rate} Hz, mels={self.mels}, window={self.window:g} s, "
                f"hop={self.hop:g} s: each must be at least one, or one sample."
            )
        if not 0 <= self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(
                f"fmin={self.fmin:g} Hz, fmax={self.fmax:g} Hz: 0 <= fmin < fmax <= "
                f"{self.sample_rate / 2:g} Hz (half the rate) is needed."
            )
        if self.fft_samples < self.window_samples:
            raise ValueError(
                f"The transform must hold the window's {self.window_samples} samples, it "
                f"has {self.fft_samples}."
            )
        scales = (self.exponent, self.spread)
        if not all(0 < scale < math.inf for scale in scales) or not math.isfinite(self.level):
            raise ValueError(
                f"exponent={self.exponent:g}, spread={self.spread:g}, level={self.level:g}: "
                "exponent and spread must be above 0, and all finite; an exponent of 2 is power, "
                "1 is magnitude."
            )

    @property
    def window_samples(self) -> int:
        """Length of a frame in samples."""
        return round(self.window * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        """From one frame to the next, in samples."""
        return round(self.hop * self.sample_rate)

    @property
    def fft_samples(self) -> int:
        """Length of a frame's Fourier transform."""
        return self.window_samples if self.transform is None else self.transform

    def frames(self, samples: int) -> int:
        """Frames of a waveform of that many samples."""
        # Half of the transform, rounded down, is padded on either side.
        return 1 + (samples - self.fft_samples % 2) // self.hop_samples


MELS_2020 = MelSettings(
    sample_rate=48_000,
    window=2048 / 22_050,
    hop=512 / 22_050,
    mels=256,
    fmin=0.0,
    fmax=24_000.0,
    transform=4608,
)
"""QTI 2020, section 6.1: 256 log-mels of stereo at 48 kHz. Window and hop are not printed; the
report follows K. Koutini et al., EUSIPCO 2019, in all else, whose 2,048 and 512 samples at
22.05 kHz make 431 frames of ten seconds. A shorter transform would leave mel bands empty."""

MELS_2021 = MelSettings(window=0.130, hop=0.030, mels=256, fmin=0.0, level=0.0, spread=1.0)
"""QTI 2021, section 3.1, and FAU 2022, section 3.2 (whose "overlap of 30ms" is read as the hop, as
its source has it): 334 frames of ten seconds, 34 of one. The logarithms stay as they are: the
papers name no scaling, and Residual Normalization at the input feels it, as it adds a tenth of them
to what has variance one."""

BASELINE_2020 = MelSettings(
    sample_rate=48_000,
    window=0.040,
    hop=0.020,
    mels=40,
    fmin=0.0,
    fmax=24_000.0,
    transform=2048,
    taper=hamming,
    exponent=1.0,
    equal_area=False,
)
"""The official baseline of 2020 (its parameter file): 40 bands of magnitude, 40 ms every 20 ms. The
official front end makes 500 frames of ten seconds, this one 501: it pads both ends. Drop the last.
"""

BASELINE_2022 = replace(BASELINE_2020, sample_rate=44_100, fmax=22_050.0)
"""The official baselines of 2021 and 2022: 51 frames of one second."""

BASELINE_2024 = MelSettings(
    sample_rate=32_000,
    window=3072 / 32_000,
    hop=500 / 32_000,
    mels=256,
    fmin=0.0,
    fmax=16_000.0,
    transform=4096,
    equal_area=False,
    level=0.0,
    spread=1.0,
)
"""The official baselines of 2024 and 2025 (run_training.py): 65 frames of one second. Theirs have
the mel scale of HTK, logarithmic throughout, where all scales here are Slaney's, and add 1e-5 to
the mel power before the logarithm, where `FLOOR` is added here."""


KNEE_HZ, KNEE_MEL = 1000.0, 15.0
"""Point at which the mel scale turns from linear (15 mel at 1 kHz) to logarithmic."""

MEL_PER_NEPER = 27 / math.log(6.4)
"""Above the knee a factor of 6.4 in frequency is 27 mel."""


def _hz_to_mel(hz: float) -> float:
    if hz < KNEE_HZ:
        return hz * KNEE_MEL / KNEE_HZ
    return KNEE_MEL + MEL_PER_NEPER * math.log(hz / KNEE_HZ)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    above = KNEE_HZ * np.exp((mel - KNEE_MEL) / MEL_PER_NEPER)
    return np.where(mel < KNEE_MEL, mel * KNEE_HZ / KNEE_MEL, above)


def mel_filters(settings: MelSettings) -> Tensor:
    """Triangular filters (mels, fft_samples // 2 + 1), of area one over its hertz or height one.

    Raises:
        ValueError: If a band is so narrow that it holds no frequency of the transform.
    """
    edges = _mel_to_hz(
        np.linspace(_hz_to_mel(settings.fmin), _hz_to_mel(settings.fmax), settings.mels + 2)
    )
    bins = np.fft.rfftfreq(settings.fft_samples, 1 / settings.sample_rate)
    lower, centre, upper = (edges[i : i + settings.mels, None] for i in range(3))
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    filters = np.maximum(0, np.minimum(rising, falling))
    if settings.equal_area:
        filters *= 2 / (upper - lower)
    empty = int((filters.sum(axis=1) == 0).sum())
    if empty:
        raise ValueError(
            f"{settings}: {empty} of {settings.mels} mel bands are narrower than the "
            f"{bins[1]:.1f} Hz between two bins. Take a longer window or transform, fewer mels or "
            "a higher fmin."
        )
    return torch.from_numpy(filters).float()


def chosen_filters(settings: MelSettings, rows: Sequence[int] | None) -> Tensor:
    """The filters of rising mel bands, (rows, fft_samples // 2 + 1), else ValueError; None: all."""
    filters = mel_filters(settings)
    if rows is None:
        return filters
    chosen = [int(row) for row in rows]
    rising = all(one < other for one, other in pairwise(chosen))
    if not chosen or not rising or chosen[0] < 0 or chosen[-1] >= settings.mels:
        raise ValueError(
            f"rows={chosen}: name at least one of the mel bands 0 to {settings.mels - 1}, in "
            "rising order and each once, as `FrequencyMask` keeps them."
        )
    return filters[chosen]


def framing_window(settings: MelSettings) -> Tensor:
    """The window in the middle of the transform (fft_samples,), as librosa has it."""
    room = settings.fft_samples - settings.window_samples
    return functional.pad(settings.taper(settings.window_samples), (room // 2, room - room // 2))


BAND = 16
"""Mel bands that are computed together. Each block multiplies only the bins that its triangles
touch: a sixteenth of the whole product, which is most of the front end's time otherwise."""

CACHED_FRAMES = 410
"""Frames that are transformed at a time on a CPU: their spectra (3.4 MB at 2,080 samples) then stay
in its cache until they are summed."""


class LogMel(nn.Module):
    """Waveforms in [-1, 1], (batch, samples) or (batch, channels, samples), to log-mels.

    `(log(power + FLOOR) - level) / spread`, natural logarithm. It has no parameters, and its
    buffers follow the settings and are not saved.

    Args:
        settings: Settings of the spectrogram.
        rows: The mel bands to compute, in rising order, for instance those that `FrequencyMask`
            kept; None for all.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self, settings: MelSettings | None = None, rows: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.settings = settings or MelSettings()
        self.register_buffer("window", framing_window(self.settings), persistent=False)
        filters = chosen_filters(self.settings, rows)
        if self.settings.exponent == 2:
            # The squares of a bin's real and imaginary part are both multiplied with its filters:
            # so their sum comes out of the product, and needs no pass of its own.
            filters = filters.repeat_interleave(2, dim=1)
        self.register_buffer("filters", filters, persistent=False)
        # First and last column that every block of filters touches.
        touched = [block.any(dim=0).nonzero() for block in filters.split(BAND)]
        self.columns = tuple((int(some.min()), int(some.max()) + 1) for some in touched)

    def mel_power(self, waveform: Tensor) -> Tensor:
        """Mel power before the logarithm, (batch, samples) -> (batch, mels, frames)."""
        return self._mel_power(self.spectrum(waveform), waveform.shape[0])

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Fourier transform of every frame, (batch, samples) -> complex (batch * frames, bins)."""
        size = self.settings.fft_samples
        padded = functional.pad(waveform, (size // 2, size // 2))
        # (batch, frames, size): a view, one frame every hop.
        frames = padded.unfold(1, size, self.settings.hop_samples)
        return torch.fft.rfft((frames * self.window).flatten(0, 1))

    def of_spectrum(self, spectrum: Tensor, batch: int) -> Tensor:
        """Log-mels (batch, 1, mels, frames) of what `spectrum` gave, which is overwritten."""
        return self._log(self._mel_power(spectrum, batch))[:, None]

    def _mel_power(self, spectrum: Tensor, batch: int) -> Tensor:
        power = self._power(spectrum)
        blocks = zip(self.filters.split(BAND), self.columns, strict=True)
        mels = [power[:, low:high] @ rows[:, low:high].T for rows, (low, high) in blocks]
        # (batch * frames, mels) -> (batch, mels, frames)
        return torch.cat(mels, dim=1).unflatten(0, (batch, -1)).transpose(1, 2)

    def _power(self, spectrum: Tensor) -> Tensor:
        """Factor of the filters, of a spectrum (frames, bins)."""
        if self.settings.exponent == 2:
            # In place: nothing else reads the spectrum. (frames, bins, 2) -> (frames, 2 * bins)
            return torch.view_as_real(spectrum).square_().flatten(1)
        return spectrum.abs() ** self.settings.exponent

    def forward(self, waveform: Tensor) -> Tensor:
        """(batch, samples) -> (batch, 1, mels, frames); channels stay where there are some.

        Raises:
            ValueError: If the waveform is not a batch of samples of its own type, or too short
                for a window.
        """
        kind = self.window.dtype
        if waveform.ndim not in (2, 3) or waveform.dtype != kind or not waveform.numel():
            raise ValueError(
                f"LogMel got {waveform.dtype} of shape {tuple(waveform.shape)}: it takes {kind} "
                "waveforms (batch, samples) or (batch, channels, samples) between -1 and 1, at "
                "least one; `.to(dtype)` changes its own type."
            )
        if waveform.shape[-1] < self.settings.window_samples:
            raise ValueError(
                f"LogMel got clips of {waveform.shape[-1]} samples, shorter than its window of "
                f"{self.settings.window_samples} ({self.settings.window * 1000:g} ms). Take longer "
                "clips or a shorter window."
            )
        batch, samples = waveform.shape[0], waveform.shape[-1]
        power = self.mel_power(waveform.reshape(-1, samples))
        # (batch * channels, mels, frames) -> (batch, channels, mels, frames)
        power = power.reshape(batch, -1, *power.shape[1:])
        return self._log(power)

    def _log(self, power: Tensor) -> Tensor:
        log = torch.log(power.add_(FLOOR))
        if (self.settings.level, self.settings.spread) == (0, 1):  # as they are: two passes less
            return log
        return log.sub_(self.settings.level).div_(self.settings.spread)


def log_mels(audio: Tensor, settings: MelSettings, device: torch.device) -> Tensor:
    """Spectrograms (clips, channels, mels, frames), computed on a device in parts that suit it.

    Args:
        audio: int16 (clips, samples) or (clips, channels, samples), full scale 32,768.
        settings: Settings of the spectrogram.
        device: Device on which to compute, and on which the result stays.

    Raises:
        ValueError: If the clips are not int16, none, or too short for a window.
    """
    if audio.dtype != torch.int16:
        raise ValueError(
            f"log_mels got {audio.dtype} of shape {tuple(audio.shape)}: it takes int16 clips, as "
            "`recipes.data.cache` decodes them. For waveforms between -1 and 1 call "
            "LogMel(settings)."
        )
    front_end = _front_end(settings, device)
    with torch.no_grad():
        parts = [
            front_end(part.to(device).float().div_(FULL_SCALE))
            for part in audio.split(_clips_at_once(audio, settings, device))
        ]
    return torch.cat(parts)


@lru_cache(maxsize=8)
def _front_end(settings: MelSettings, device: torch.device) -> LogMel:
    """One for each settings and device: making the filters takes longer than a few clips."""
    return LogMel(settings).to(device)


def _clips_at_once(audio: Tensor, settings: MelSettings, device: torch.device) -> int:
    if device.type != "cpu":
        return 256
    channels = audio.shape[1] if audio.ndim == 3 else 1
    return max(1, CACHED_FRAMES // (channels * settings.frames(audio.shape[-1])))
