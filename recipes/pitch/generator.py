"""Tones whose fundamental frequency is known exactly, one in every frame.

A tone is a sum of harmonics of random strength and phase, on a frequency that glides and trembles,
of a loudness that grows or dies away, in white or pink noise. Its phase is the integral of its
frequency in closed form, so that the frequency in the middle of the frame is exact, not measured.
Nothing of it was recorded, and nothing is like an instrument but by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.polynomial.polynomial import polyval
from torch import Tensor

RATE = 16_000
"""Samples a second."""
SAMPLES = 1024
"""Samples of a frame."""
TIME = (np.arange(SAMPLES) - (SAMPLES - 1) / 2) / RATE
"""When they are, in s; 0 is the middle of the frame."""


@dataclass(frozen=True, kw_only=True)
class ToneSettings:
    """What tones are drawn from.

    Attributes:
        lowest: Lowest fundamental frequency, in Hz; frequencies are drawn evenly on a log scale.
        highest: Highest, in Hz.
        top: Frequency that no harmonic but the first goes beyond, in Hz.
        slope: Exponents p of harmonics' strength, 1 / k^p: from flat to nearly a sine.
        uneven: Standard deviation of what is added to every harmonic's strength, in dB.
        least: The first harmonic's strength in parts of the strongest, at least: with less, hardly
            anybody could tell its octave.
        glide: Standard deviation of the frequency's change in a second, in parts of it.
        vibrato: Greatest depth of the trembling that every other tone has, in parts of it.
        swell: Standard deviation of the loudness' growth, in nepers a second.
        clean: Share of tones without noise.
        noise: Least and greatest signal-to-noise ratio of the others, in dB.
    """

    lowest: float = 50.0
    highest: float = 1950.0
    top: float = 7600.0
    slope: tuple[float, float] = (0.5, 2.0)
    uneven: float = 4.0
    least: float = 0.3
    glide: float = 0.3
    vibrato: float = 0.03
    swell: float = 3.0
    clean: float = 0.25
    noise: tuple[float, float] = (0.0, 30.0)

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0 < self.lowest <= self.highest <= self.top <= RATE / 2:
            raise ValueError(
                f"ToneSettings(lowest={self.lowest}, highest={self.highest}, top={self.top}): must "
                f"rise, from above 0 to {RATE // 2} Hz at most"
            )
        if not 0 <= self.clean <= 1:
            raise ValueError(f"ToneSettings(clean={self.clean}): must be a share, from 0 to 1")


@dataclass(frozen=True)
class Tones:
    """Frames and what is true of them.

    Attributes:
        frames: float32 (frames, 1024), each of mean 0 and variance 1.
        hertz: float64 (frames,), the fundamental frequency in the middle of each.
        noise: float64 (frames,), signal-to-noise ratio in dB, infinite of a clean tone.
    """

    frames: Tensor
    hertz: Tensor
    noise: Tensor


def tones(count: int, seed: int, settings: ToneSettings | None = None) -> Tones:
    """So many tones; those of another seed are others, fewer of one seed are the first of them.

    Args:
        count: Number of tones, at least 1.
        seed: A whole number from 0 on.
        settings: What they are drawn from; the defaults for None.
    """
    if count < 1:
        raise ValueError(f"tones(count={count}): at least 1")
    settings = ToneSettings() if settings is None else settings
    rng = np.random.default_rng(seed)
    drawn = [tone(rng, settings) for _ in range(count)]
    frames, hertz, noise = zip(*drawn, strict=True)
    return Tones(
        torch.from_numpy(np.stack(frames).astype(np.float32)),
        torch.tensor(hertz, dtype=torch.float64),
        torch.tensor(noise, dtype=torch.float64),
    )


def tone(rng: np.random.Generator, settings: ToneSettings) -> tuple[np.ndarray, float, float]:
    """A frame float64 (1024,), its fundamental frequency in Hz, its signal-to-noise ratio in dB."""
    hertz = float(np.exp(rng.uniform(np.log(settings.lowest), np.log(settings.highest))))
    harmonics = np.arange(1, max(1, int(settings.top / hertz)) + 1)
    strengths = _strengths(rng, harmonics, settings)
    starts = rng.uniform(0, 2 * np.pi, len(harmonics))
    turning = np.exp(1j * _phase(rng, hertz, settings))
    # Harmonics are powers of the first one: a polynomial costs a product each, and no sine.
    sound = polyval(turning, [0, *strengths * np.exp(1j * starts)]).imag
    sound *= np.exp(rng.normal(0, settings.swell) * TIME)
    sound = _normal(sound)
    ratio = np.inf if rng.random() < settings.clean else rng.uniform(*settings.noise)
    rushing = _noise(rng)
    if np.isfinite(ratio):
        sound = _normal(sound + rushing * 10 ** (-ratio / 20))
    return sound, hertz, float(ratio)


def _strengths(
    rng: np.random.Generator, harmonics: np.ndarray, settings: ToneSettings
) -> np.ndarray:
    """Amplitudes of the harmonics."""
    smooth = harmonics ** -rng.uniform(*settings.slope)
    found = smooth * 10 ** (rng.normal(0, settings.uneven, len(harmonics)) / 20)
    found[0] = max(found[0], settings.least * found.max())
    return found


def _phase(rng: np.random.Generator, hertz: float, settings: ToneSettings) -> np.ndarray:
    """The integral of ``2 pi hertz (1 + glide t + depth (sin(w t + p) - sin(p)))``, 0 at t = 0."""
    glide = rng.normal(0, settings.glide)
    depth = rng.uniform(0, settings.vibrato) * rng.integers(0, 2)
    speed, start = 2 * np.pi * rng.uniform(4, 7), rng.uniform(0, 2 * np.pi)
    trembling = (np.cos(start) - np.cos(speed * TIME + start)) / speed - np.sin(start) * TIME
    return 2 * np.pi * hertz * (TIME + glide * TIME**2 / 2 + depth * trembling)


def _noise(rng: np.random.Generator) -> np.ndarray:
    """White or pink noise of mean 0 and variance 1."""
    spectrum = np.fft.rfft(rng.standard_normal(SAMPLES))
    falling = np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return _normal(np.fft.irfft(spectrum / falling if rng.random() < 0.5 else spectrum))


def _normal(sound: np.ndarray) -> np.ndarray:
    """The same with mean 0 and variance 1, as CREPE takes it."""
    return (sound - sound.mean()) / sound.std()
