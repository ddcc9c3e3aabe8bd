"""Simulated recording devices: an impulse response, then dynamic-range compression.

The TAU Urban Acoustic Scenes 2020 and 2022 Mobile data sets make their devices s1 to s6 in this way
from recordings of device a; their responses and settings are not public, so these are invented:
smooth random magnitudes between two band edges, made minimum-phase, and a feed-forward compressor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal

TAPS = 512
BUMPS = 10.0
"""How far a response strays from flat at every octave, in dB: enough that a linear classifier of
generated scenes loses at least five points on devices unknown to it, as a test holds. On
TAU, whose responses are not public, the baseline of B. Kim et al. loses 14 (DCASE Workshop 2021,
Table 3, means over seen and unseen devices)."""


@dataclass(frozen=True)
class Device:
    """One simulated device.

    Attributes:
        response: Impulse response (taps,), of unit energy.
        threshold: Level above which the compressor turns down, in dB of full scale.
        ratio: Decibels in for one decibel out above the threshold; 1 does nothing.
        noise: Level of the device's own white noise, in dB of full scale.
    """

    response: np.ndarray
    threshold: float
    ratio: float
    noise: float


def reference() -> Device:
    """Device a: what was recorded, unchanged."""
    return Device(response=np.ones(1), threshold=0.0, ratio=1.0, noise=-120.0)


def simulated(rng: np.random.Generator, rate: int) -> Device:
    """A device drawn at random for a sample rate in Hz."""
    low, high = rng.uniform(60, 400), rng.uniform(0.3, 0.95) * rate / 2
    return Device(
        response=_response(rng, rate, low, high),
        threshold=rng.uniform(-40, -25),
        ratio=rng.uniform(1.5, 4),
        noise=rng.uniform(-75, -60),
    )


def _response(rng: np.random.Generator, rate: int, low: float, high: float) -> np.ndarray:
    """Minimum-phase response: random bumps, 12 dB per octave down off the band."""
    hertz = np.maximum(np.fft.rfftfreq(2 * TAPS, 1 / rate), 10.0)
    octaves = np.log2(hertz / 10)
    knots = np.arange(np.ceil(octaves[-1]) + 1)
    decibels = np.interp(octaves, knots, rng.uniform(-BUMPS, BUMPS, len(knots)))
    decibels -= 12 * (np.maximum(0, np.log2(low / hertz)) + np.maximum(0, np.log2(hertz / high)))
    # A minimum phase is the Hilbert transform of the log magnitude: fold its cepstrum forward.
    cepstrum = np.fft.irfft(decibels * np.log(10) / 20)
    cepstrum[1:TAPS] *= 2
    cepstrum[TAPS + 1 :] = 0
    response = np.fft.irfft(np.exp(np.fft.rfft(cepstrum)))[:TAPS]
    return response / np.linalg.norm(response)


def record(audio: np.ndarray, device: Device, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A waveform (samples,) as a device records it, of the same length and sample rate."""
    heard = signal.oaconvolve(audio, device.response)[: len(audio)]
    heard = heard + 10 ** (device.noise / 20) * rng.standard_normal(len(audio))
    return compressed(heard, device.threshold, device.ratio, rate)


def compressed(audio: np.ndarray, threshold: float, ratio: float, rate: int) -> np.ndarray:
    """Turn down what is above a threshold (dB of full scale) in its mean level over 20 ms."""
    smooth = np.exp(-1 / (0.02 * rate))
    power = np.asarray(signal.lfilter([1 - smooth], [1, -smooth], audio**2))
    excess = np.maximum(0, 10 * np.log10(power + 1e-12) - threshold)
    return audio * 10 ** (-excess * (1 - 1 / ratio) / 20)
