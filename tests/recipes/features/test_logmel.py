"""The log-mel front end against librosa."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from recipes.data.audio import FULL_SCALE
from recipes.features.logmel import (
    BASELINE_2020,
    BASELINE_2022,
    FLOOR,
    LEVEL,
    MELS_2020,
    MELS_2021,
    SPREAD,
    LogMel,
    MelSettings,
    hamming,
    hann,
    log_mels,
    mel_filters,
)

CPU = torch.device("cpu")
LAYOUTS = {
    "default": MelSettings(),
    "2020, stereo": MELS_2020,
    "2021 and 2022": MELS_2021,
    "baseline 2020": BASELINE_2020,
    "baselines 2021 and 2022": BASELINE_2022,
    # Odd, and longer than its window.
    "odd transform": MelSettings(window=0.05, transform=1025, mels=40),
}
WINDOWS = {hann: "hann", hamming: "hamming"}


def by_librosa(audio: np.ndarray, chosen: MelSettings) -> np.ndarray:
    """Mel spectrograms (..., mels, frames) of waveforms (..., samples)."""
    return librosa.feature.melspectrogram(
        y=audio,
        sr=chosen.sample_rate,
        n_fft=chosen.fft_samples,
        win_length=chosen.window_samples,
        hop_length=chosen.hop_samples,
        window=WINDOWS[chosen.taper],
        power=chosen.exponent,
        n_mels=chosen.mels,
        fmin=chosen.fmin,
        fmax=chosen.fmax,
        norm="slaney" if chosen.equal_area else None,
    )


@pytest.mark.parametrize("chosen", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("seconds", [1, 1.00002, 1.33])
def test_mel_power_equals_librosa(chosen: MelSettings, seconds: float) -> None:
    """Noise and a tone, at lengths that end in the middle of a hop too."""
    samples = round(seconds * chosen.sample_rate)
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, samples)).astype(np.float32) * 0.1
    audio[1] += 0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / chosen.sample_rate)
    power = LogMel(chosen).mel_power(torch.from_numpy(audio)).numpy()
    np.testing.assert_allclose(power, by_librosa(audio, chosen), rtol=1e-4)
    assert power.shape[-1] == chosen.frames(samples)


@pytest.mark.parametrize(
    ("chosen", "seconds", "frames"),
    [(MELS_2020, 10, 431), (MELS_2021, 10, 334), (MELS_2021, 1, 34), (BASELINE_2022, 1, 51)],
)
def test_frames_of_the_papers(chosen: MelSettings, seconds: int, frames: int) -> None:
    assert chosen.frames(seconds * chosen.sample_rate) == frames


@pytest.mark.data
@pytest.mark.parametrize("chosen", LAYOUTS.values(), ids=LAYOUTS)
def test_real_stereo_clips_equal_librosa(chosen: MelSettings, shared_data: Path) -> None:
    """Three real TAU 2020 clips of 48 kHz stereo, read as if they had each layout's rate."""
    folder = shared_data / "TAU-urban-acoustic-scenes-2020-3class-development-mini" / "audio"
    read = [soundfile.read(path, dtype="int16")[0].T for path in sorted(folder.glob("*.wav"))[:3]]
    audio = np.stack(read)[..., : 3 * chosen.sample_rate]
    ours = log_mels(torch.from_numpy(audio), chosen, CPU)
    wanted = by_librosa(audio.astype(np.float32) / FULL_SCALE, chosen)
    assert ours.shape == wanted.shape
    power = torch.exp(ours * chosen.spread + chosen.level).numpy()
    np.testing.assert_allclose(power, wanted + FLOOR, rtol=1e-4)


@pytest.mark.parametrize("shape", [(13, 16_000), (5, 2, 16_000), (1, 60_000)])
def test_many_clips_are_computed_in_parts(shape: tuple[int, ...]) -> None:
    """Parts, channels and batches change nothing."""
    audio = torch.randint(-(2**15), 2**15, shape, dtype=torch.int16)
    whole = log_mels(audio, MELS_2021, CPU)
    front_end = LogMel(MELS_2021)
    for clip, expected in zip(audio, whole, strict=True):
        channels = clip.reshape(-1, shape[-1]).float() / FULL_SCALE
        torch.testing.assert_close(front_end(channels)[:, 0], expected)


def test_gradients_reach_the_waveform() -> None:
    waveform = torch.randn(2, 4000, dtype=torch.float64, requires_grad=True)
    front_end = LogMel(MelSettings(mels=8, window=0.02, hop=0.05)).double()
    assert torch.autograd.gradcheck(lambda x: front_end(x).sum(dim=(1, 2)), waveform[:, :640])


def test_filters_equal_librosa() -> None:
    chosen = MelSettings()
    expected = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=64, fmin=20, fmax=8000)
    np.testing.assert_allclose(mel_filters(chosen).numpy(), expected, rtol=1e-5, atol=1e-9)


def test_shape_and_silence() -> None:
    """Five seconds make 126 frames; digital silence is the floor, not minus infinity."""
    out = LogMel()(torch.zeros(3, 80_000))
    assert out.shape == (3, 1, 64, 126)
    torch.testing.assert_close(out, torch.full_like(out, (np.log(FLOOR) - LEVEL) / SPREAD))


def test_front_end_has_nothing_to_save() -> None:
    front_end = LogMel()
    assert not front_end.state_dict()
    assert not list(front_end.parameters())
    assert LogMel().double()(torch.zeros(1, 16_000, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MelSettings(fmax=9000), "8000 Hz"),
        (lambda: MelSettings(fmin=500, fmax=400), "fmin < fmax"),
        (lambda: MelSettings(hop=0.0), "at least one"),
        (
            lambda: LogMel(MelSettings(window=0.016, mels=128)),
            "Take a longer window or transform, fewer mels",
        ),
        (lambda: LogMel()(torch.zeros(16_000)), "(batch, samples)"),
        (lambda: LogMel()(torch.zeros(2, 16_000, dtype=torch.int16)), "torch.int16"),
        (lambda: LogMel()(torch.zeros(2, 16_000).double()), "takes torch.float32 waveforms"),
        (lambda: LogMel()(torch.zeros(0, 16_000)), "at least one"),
        (lambda: log_mels(torch.zeros(2, 16_000), MelSettings(), CPU), "takes int16 clips"),
        (lambda: log_mels(torch.zeros(0, 16_000).short(), MelSettings(), CPU), "at least one"),
        (lambda: MelSettings(spread=float("nan")), "exponent and spread must be above 0"),
        (lambda: MelSettings(level=float("inf")), "all finite"),
        (lambda: LogMel()(torch.zeros(2, 1000)), "shorter than its window of 1024 (64 ms)"),
        (lambda: MelSettings(transform=512), "must hold the window's 1024 samples, it has 512"),
        (lambda: MelSettings(exponent=0), "exponent and spread must be above 0"),
    ],
)
def test_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is asserted below
        build()
    assert message in str(caught.value)
