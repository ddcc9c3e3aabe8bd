"""Mixtures of spectra are those of waveforms, in the ratio that the ear hears."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.features.logmel import LogMel, MelSettings
from recipes.training.between_classes import SILENCE, a_weighting, loudness, mixed, share_of

MELS = MelSettings(window=0.040, hop=0.020)
FRONT_END = LogMel(MELS)
RATE = MELS.sample_rate


def tone(hertz: float, level: float) -> torch.Tensor:
    return level * torch.sin(2 * torch.pi * hertz * torch.arange(RATE, dtype=torch.float64) / RATE)


def spectra(*waveforms: torch.Tensor) -> torch.Tensor:
    x = torch.stack(waveforms).float()
    return FRONT_END.spectrum(x).unflatten(0, (len(x), -1))


@pytest.mark.parametrize(
    ("hertz", "decibels"),
    [(31.62, -39.4), (100.0, -19.1), (1000.0, 0.0), (2000.0, 1.2), (4000.0, 1.0), (8000.0, -1.1)],
)
def test_the_weighting_is_that_of_the_standard(hertz: float, decibels: float) -> None:
    """IEC 61672-1, table 3, of one decimal; its lowest band is at 10^1.5 Hz."""
    assert float(a_weighting(torch.tensor([hertz]))) == pytest.approx(decibels, abs=0.06)


def test_a_tone_ten_times_as_strong_is_twenty_decibels_louder_and_a_low_one_softer() -> None:
    loud, soft, low, silent = loudness(
        spectra(tone(1000, 0.5), tone(1000, 0.05), tone(100, 0.5), tone(1000, 0.0)), RATE
    ).tolist()
    assert loud - soft == pytest.approx(20, abs=0.01)
    assert loud - low == pytest.approx(19.1, abs=0.3)
    assert silent == SILENCE


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.8])
def test_the_ear_hears_the_ratio_whatever_the_levels(ratio: float) -> None:
    """Amplitudes p a1 and (1 - p) a2 are as r to 1 - r, by equation 2 solved for them."""
    level = torch.tensor([10.0, -25.0], dtype=torch.float64)
    p = share_of(torch.tensor([ratio], dtype=torch.float64), level[:1], level[1:])
    amplitudes = 10 ** (level / 20)
    heard = p * amplitudes[0] / (p * amplitudes[0] + (1 - p) * amplitudes[1])
    assert float(heard) == pytest.approx(ratio)


def test_mixed_spectra_are_those_of_mixed_waveforms() -> None:
    """The oracle mixes samples, as the paper prints it, and transforms the sum."""
    rng = np.random.default_rng(0)
    waveforms = torch.from_numpy(rng.normal(size=(4, RATE)) * np.array([[1], [0.1], [2], [0.01]]))
    spectrum, targets = spectra(*waveforms), torch.eye(4)
    found, labels = mixed(spectrum, targets, RATE, torch.Generator().manual_seed(1))
    assert torch.allclose(labels.sum(1), torch.ones(4))
    levels = loudness(spectrum, RATE)
    for row in range(4):
        (partner,) = [k for k in range(4) if k != row and labels[row, k] > 0]
        r = float(labels[row, row])
        p = 1 / (1 + 10 ** (float(levels[row] - levels[partner]) / 20) * (1 - r) / r)
        sample = p * waveforms[row] + (1 - p) * waveforms[partner]
        expected = spectra(sample / (p**2 + (1 - p) ** 2) ** 0.5)[0]
        torch.testing.assert_close(found[row], expected, rtol=1e-3, atol=1e-3)


def test_mixtures_are_those_of_the_generator() -> None:
    spectrum = spectra(tone(500, 0.1), tone(1000, 0.2), tone(3000, 0.3))
    first, again, other = (
        mixed(spectrum, torch.eye(3), RATE, torch.Generator().manual_seed(seed))[0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
