"""Generated tones: their frequency by other programs, and what is promised of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recipes.pitch.generator import RATE, SAMPLES, TIME, ToneSettings, tones

STEADY = ToneSettings(lowest=300, highest=1900, glide=0, vibrato=0, swell=0, clean=1)
"""Tones that stay as they are, so that their spectrum is one of lines."""


def off(found: float, hertz: float) -> float:
    """Distance in cents."""
    return abs(1200 * np.log2(found / hertz))


def test_a_sine_s_frequency_is_where_its_spectrum_has_its_peak() -> None:
    """The first harmonic alone, by a long transform: the bins are 0.06 Hz apart."""
    alone = ToneSettings(
        lowest=100, highest=1900, top=1900, glide=0, vibrato=0, swell=0, clean=1,
        slope=(50, 50), uneven=0, least=0,
    )  # fmt: skip
    made = tones(20, 0, alone)
    long = 2**18
    for frame, hertz in zip(made.frames.numpy(), made.hertz.tolist(), strict=True):
        spectrum = np.abs(np.fft.rfft(frame * np.hanning(SAMPLES), long))
        assert off(spectrum.argmax() * RATE / long, hertz) < 2


def test_the_harmonics_lie_at_its_multiples() -> None:
    """What no multiple of the frequency explains, of the best sum of sines at them, is nothing."""
    made = tones(8, 1, STEADY)
    for frame, hertz in zip(made.frames.double().numpy(), made.hertz.tolist(), strict=True):
        multiples = np.arange(1, max(1, int(STEADY.top / hertz)) + 1)[:, None]
        angles = 2 * np.pi * hertz * multiples * TIME
        waves = np.vstack([np.sin(angles), np.cos(angles), np.ones(SAMPLES)]).T
        _, rest, *_ = np.linalg.lstsq(waves, frame, rcond=None)
        assert rest.sum() < 1e-6 * SAMPLES
        _, wrong, *_ = np.linalg.lstsq(np.vstack([np.sin(angles * 1.02)]).T, frame, rcond=None)
        assert wrong.sum() > 0.01 * SAMPLES, "another frequency would do as well"


def test_a_period_later_a_tone_says_the_same() -> None:
    """The peak of the autocorrelation over the lags of 100 to 700 Hz."""
    made = tones(30, 2, ToneSettings(lowest=150, highest=600, clean=1))
    near = 0
    for frame, hertz in zip(made.frames.numpy(), made.hertz.tolist(), strict=True):
        spectrum = np.fft.rfft(frame, 2 * SAMPLES)
        lagged = np.fft.irfft(np.abs(spectrum) ** 2)[:SAMPLES] / np.arange(SAMPLES, 0, -1)
        lag = 23 + int(lagged[23:160].argmax())
        # A lag is a whole number of samples, and two periods say the same as one.
        near += min(abs(lag / n - RATE / hertz) for n in (1, 2, 3, 4)) < 1
    assert near > 27


def test_the_frequency_is_that_of_the_middle_of_a_glide() -> None:
    """The phase of an alone first harmonic, by its analytic signal, turns so fast there."""
    settings = ToneSettings(
        lowest=500, highest=1000, top=1000, slope=(50, 50), uneven=0, least=0, clean=1, swell=0,
        glide=2.0, vibrato=0.1,
    )  # fmt: skip
    made = tones(30, 3, settings)
    half = SAMPLES // 2
    moved = 0
    for frame, hertz in zip(made.frames.double().numpy(), made.hertz.tolist(), strict=True):
        spectrum = np.fft.fft(frame)
        spectrum[half:] = 0
        phase = np.unwrap(np.angle(np.fft.ifft(spectrum)))
        local = np.polyfit(TIME[half - 40 : half + 40], phase[half - 40 : half + 40], 3)[2]
        assert off(local / (2 * np.pi), hertz) < 10
        early = np.polyfit(TIME[200:280], phase[200:280], 1)[0]
        moved += off(early / (2 * np.pi), hertz) > 20
    assert moved > 15, "they glide"


def test_noise_is_as_strong_as_it_says() -> None:
    """The same tone with noise and without: seeds draw alike, but for how much there is."""
    loud = ToneSettings(glide=0, vibrato=0, clean=0, noise=(10, 10))
    soft = ToneSettings(glide=0, vibrato=0, clean=0, noise=(60, 60))
    with_noise, nearly = (tones(1, 4, one).frames[0].double() for one in (loud, soft))
    share = float((with_noise @ nearly) / SAMPLES)  # of the tone: 1 / sqrt(1 + 1 / 10)
    assert share == pytest.approx((1 + 0.1) ** -0.5, abs=0.05)


def test_frames_are_normal_and_shares_are_kept() -> None:
    made = tones(200, 5)
    assert made.frames.shape == (200, SAMPLES)
    assert made.frames.dtype == torch.float32
    torch.testing.assert_close(made.frames.mean(1), torch.zeros(200), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.frames.std(1, correction=0), torch.ones(200))
    assert made.noise.isinf().double().mean() == pytest.approx(0.25, abs=0.1)
    noisy = made.noise[made.noise.isfinite()]
    assert 0 <= noisy.min() < noisy.max() <= 30
    octaves = torch.log2(made.hertz / 50)
    assert octaves.min() > 0
    assert octaves.mean() == pytest.approx(np.log2(1950 / 50) / 2, abs=0.4)


def test_a_seed_says_which_tones() -> None:
    few, many, others = tones(3, 6), tones(5, 6), tones(3, 7)
    assert torch.equal(few.frames, many.frames[:3])
    assert torch.equal(few.hertz, many.hertz[:3])
    assert not torch.equal(few.frames, others.frames)


@pytest.mark.parametrize(
    "wrong", [{"lowest": 0.0}, {"lowest": 2000.0}, {"top": 9000.0}, {"clean": 1.5}]
)
def test_settings_that_make_no_tone_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ToneSettings(**wrong)
    with pytest.raises(ValueError, match="at least 1"):
        tones(0, 0)
