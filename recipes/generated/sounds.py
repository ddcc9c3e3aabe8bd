"""Short sounds that happen in generated scenes; each is drawn anew and lasts at most 0.6 s."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Event = Callable[[np.random.Generator, int], np.ndarray]
"""Makes of a random generator and a rate in Hz one sound (samples,), peaking around 1 to 3."""


def _time(seconds: float, rate: int) -> np.ndarray:
    return np.arange(int(seconds * rate)) / rate


def _swept(hertz: np.ndarray, rate: int) -> np.ndarray:
    """A sine whose frequency follows a curve (samples,)."""
    return np.sin(2 * np.pi * np.cumsum(hertz) / rate)


def footstep(rng: np.random.Generator, rate: int) -> np.ndarray:
    """A thud and a rustle that die away."""
    time = _time(0.08, rate)
    thud = np.sin(2 * np.pi * rng.uniform(80, 200) * time)
    rustle = np.diff(rng.standard_normal(len(time)), prepend=0)
    return (2 * thud + 0.5 * rustle) * np.exp(-time / 0.015) * rng.uniform(0.7, 1.5)


def voice(rng: np.random.Generator, rate: int) -> np.ndarray:
    """A syllable: harmonics of a gliding pitch under two formants."""
    time = _time(rng.uniform(0.12, 0.3), rate)
    pitch = rng.uniform(90, 240) * (1 + rng.uniform(-0.15, 0.15) * time / time[-1])
    formants = rng.uniform(300, 800), rng.uniform(1000, 2400)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = np.zeros_like(time)
    for k in range(1, 21):
        octaves = [np.log2(k * pitch[0] / formant) for formant in formants]
        sound += sum(np.exp(-8 * octave**2) for octave in octaves) * np.sin(k * phase)
    return sound * np.sin(np.pi * time / time[-1]) * rng.uniform(0.4, 1.2)


def chirp(rng: np.random.Generator, rate: int) -> np.ndarray:
    """A bird: a fast sweep between two high pitches, repeated."""
    time = _time(rng.uniform(0.1, 0.35), rate)
    low, span = rng.uniform(2500, 4500), rng.uniform(500, 2500)
    sweep = (time * rng.uniform(8, 25)) % 1
    return _swept(low + span * sweep, rate) * np.sin(np.pi * sweep) * rng.uniform(0.3, 1.0)


def chime(rng: np.random.Generator, rate: int) -> np.ndarray:
    """Two bell tones a third apart, before an announcement or closing doors."""
    time = _time(0.6, rate)
    first = rng.uniform(500, 900)
    tone = np.where(time < 0.3, first, first / 1.25)  # half of its length
    fade = np.exp(-(time % 0.3) / 0.12)
    return (_swept(tone, rate) + 0.4 * _swept(2 * tone, rate)) * fade * rng.uniform(0.4, 1.0)


def squeal(rng: np.random.Generator, rate: int) -> np.ndarray:
    """Brakes or a wheel in a curve: a high tone that trembles, and its octave."""
    time = _time(rng.uniform(0.3, 0.6), rate)
    tremble = 1 + 0.02 * np.sin(2 * np.pi * rng.uniform(10, 30) * time)
    tone = rng.uniform(1800, 3500) * tremble
    sound = _swept(tone, rate) + 0.5 * _swept(2 * tone, rate)
    return sound * np.sin(np.pi * time / time[-1]) * rng.uniform(0.2, 0.8)
