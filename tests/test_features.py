"""The log-mel front end against librosa, and the laws of the augmentations."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes import augment
from recipes.features import FLOOR, LEVEL, SPREAD, LogMel, MelSettings, mel_filters

PAPER = MelSettings(window=0.130, hop=0.030, mels=128, fmin=0)
"""Frames of BC-ResNet-ASC; 130 ms is 2,080 samples, not a power of two."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("chosen", [MelSettings(), PAPER], ids=["default", "paper"])
@pytest.mark.parametrize("samples", [16_000, 16_001, 30_123])
def test_mel_power_equals_librosa(chosen: MelSettings, samples: int) -> None:
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, samples)).astype(np.float32) * 0.1
    expected = librosa.feature.melspectrogram(
        y=audio,
        sr=chosen.sample_rate,
        n_fft=chosen.window_samples,
        hop_length=chosen.hop_samples,
        n_mels=chosen.mels,
        fmin=chosen.fmin,
        fmax=chosen.fmax,
    )
    power = LogMel(chosen).mel_power(torch.from_numpy(audio)).numpy()
    np.testing.assert_allclose(power, expected, rtol=1e-4)
    assert power.shape[-1] == chosen.frames(samples)


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
        (lambda: MelSettings(fmax=9000), "8000.0 Hz"),
        (lambda: MelSettings(fmin=500, fmax=400), "fmin < fmax"),
        (lambda: MelSettings(hop=0.0), "at least one"),
        (lambda: LogMel(MelSettings(window=0.016, mels=128)), "Take a longer window, fewer mels"),
        (lambda: LogMel()(torch.zeros(16_000)), "(batch, samples)"),
        (lambda: LogMel()(torch.zeros(2, 16_000, dtype=torch.int16)), "torch.int16"),
    ],
)
def test_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is asserted below
        build()
    assert message in str(caught.value)


@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_roll_keeps_every_column(seed: int, frames: int) -> None:
    """Each example comes back rolled by some number of frames, all its rows alike."""
    x = torch.randn(3, 1, 4, frames, generator=generator(seed))
    out = augment.roll(x, generator(seed))
    for before, after in zip(x, out, strict=True):
        assert any(torch.equal(before.roll(shift, 2), after) for shift in range(frames))


def test_roll_differs_between_examples() -> None:
    x = torch.arange(50.0).expand(20, 1, 2, 50)
    assert len(set(augment.roll(x, generator())[:, 0, 0, 0].tolist())) > 1


@given(seed=st.integers(0, 2**32 - 1), bands=st.integers(0, 12), frames=st.integers(0, 12))
@settings(max_examples=50, deadline=None)
def test_mask_covers_whole_rows_and_columns(seed: int, bands: int, frames: int) -> None:
    """At most `count` runs of at most `bands` rows and `frames` columns; the rest is untouched."""
    x = torch.rand(4, 1, 8, 10, generator=generator(seed)) + 1
    out = augment.mask(x, generator(seed), bands=bands, frames=frames, count=1)
    covered = out == 0
    assert torch.equal(out[~covered], x[~covered])
    rows, columns = covered.all(3), covered.all(2)
    assert torch.equal(covered, rows[..., None] | columns[:, :, None])
    for example_rows, example_columns in zip(rows[:, 0], columns[:, 0], strict=True):
        for line, widest in ((example_rows, bands), (example_columns, frames)):
            if not line.all():
                edges = torch.diff(line.int(), prepend=torch.zeros(1, dtype=torch.int))
                assert int(line.sum()) <= widest
                assert int((edges == 1).sum()) <= 1


def test_mask_reaches_every_width_and_both_edges() -> None:
    out = augment.mask(torch.ones(2000, 1, 6, 1), generator(), bands=3, frames=0, count=1)
    covered = (out == 0)[:, 0, :, 0]
    assert covered.sum(1).unique().tolist() == [0, 1, 2, 3]
    assert covered.any(0).all()


@given(seed=st.integers(0, 2**32 - 1), alpha=st.floats(0.1, 2))
@settings(max_examples=30, deadline=None)
def test_mixup_blends_clips_and_labels_alike(seed: int, alpha: float) -> None:
    """With features equal to label distributions, both must stay equal, and sum to one."""
    targets = torch.eye(6)
    x, blended = augment.mixup(targets[:, None, :, None], targets, generator(seed), alpha)
    torch.testing.assert_close(x[:, 0, :, 0], blended)
    torch.testing.assert_close(blended.sum(1), torch.ones(6))
    assert (blended >= 0).all()


def test_augmentation_follows_its_generator() -> None:
    """Equal seeds, equal batches; the global generator plays no part."""
    x, targets = torch.randn(8, 1, 16, 20), torch.eye(8)

    def batch(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 100)
        source = generator(3)
        rolled = augment.mask(augment.roll(x, source), source, bands=4, frames=5)
        return augment.mixup(rolled, targets, source, 0.3)[0]

    assert torch.equal(batch(0), batch(1))
