"""Microphone responses: reading, splitting by maker, and convolution against scipy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from recipes.features.logmel import LogMel, MelSettings, mel_filters
from recipes.features.responses import (
    Responses,
    maker,
    mel_gains,
    read_responses,
    split,
)

RATE = 16_000


def made(count: int, taps: int = 50) -> Responses:
    values = torch.randn(count, taps, generator=torch.Generator().manual_seed(0))
    return Responses(
        tuple(f"{chr(97 + i) * 3}_{i}" for i in range(count)),
        values / values.norm(dim=1, keepdim=True),
    )


@pytest.mark.data
def test_micirp(shared_data: Path) -> None:
    """66 measured responses at two rates come out aligned, of one length and of unit energy."""
    responses = read_responses(shared_data / "micirp", RATE)
    assert responses.taps.shape == (66, 4000)
    torch.testing.assert_close(responses.taps.norm(dim=1), torch.ones(66))
    energy = responses.taps.square().cumsum(dim=1)
    assert (energy[:, RATE // 50] > 0.9).all(), "nine tenths within 20 ms of the start"
    training, test = split(responses)
    assert len(training) + len(test) == 66
    assert 15 <= len(test) <= 25
    assert not set(map(maker, training.names)) & set(map(maker, test.names))
    assert maker("IR_RCAKU3a") == maker("RCA_KU3a_1") == "rca"
    by_name = dict(zip(responses.names, responses.taps, strict=True))
    for part in (training, test):
        assert all(torch.equal(by_name[n], t) for n, t in zip(part.names, part.taps, strict=True))


def test_a_response_is_cut_resampled_and_scaled(tmp_path: Path) -> None:
    """An impulse after silence at 48 kHz stereo becomes one at the first sample of its channel."""
    audio = np.zeros((4800, 2))
    audio[1200, 0], audio[2400, 1] = 0.5, 0.9
    soundfile.write(tmp_path / "a.wav", audio, 48_000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", np.eye(1, 100)[0] * 0.3, RATE, subtype="FLOAT")
    responses = read_responses(tmp_path, RATE, seconds=0.01)
    assert responses.names == ("a", "b")
    assert responses.taps.shape == (2, 160)
    # soxr's ringing before the impulse is kept down to a thousandth of the peak.
    assert int(responses.taps[0].abs().argmax()) < 60
    assert responses.taps[1, 0] == 1
    assert responses.taps[1, 1:].abs().max() == 0


@given(count=st.integers(6, 26), share=st.floats(0.2, 0.8), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_split_divides(count: int, share: float, seed: int) -> None:
    responses = made(count)
    training, test = split(responses, share, seed)
    assert sorted(training.names + test.names) == sorted(responses.names)
    assert abs(len(test) - share * count) <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no wav file"),
        (b"RIFF, or so it says", r"bad\.wav cannot be decoded"),
        (np.zeros(100), r"bad\.wav is empty, silent or not finite"),
        (np.array([0.1, np.nan]), r"bad\.wav is empty, silent or not finite"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: object, message: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / "bad.wav").write_bytes(content)
    elif content is not None:
        soundfile.write(tmp_path / "bad.wav", content, RATE, subtype="FLOAT")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_responses(tmp_path, RATE)


def test_a_response_that_was_cut_off(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "bad.wav", np.eye(1, 100)[0], RATE)
    (tmp_path / "bad.wav").write_bytes((tmp_path / "bad.wav").read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"bad\.wav is cut off: .* 20 more"):
        read_responses(tmp_path, RATE)


def test_no_sound_is_left_out_without_a_word(tmp_path: Path) -> None:
    for name in ("a.wav", "b.WAV"):
        soundfile.write(tmp_path / name, np.eye(1, 100)[0], RATE, format="WAV")
    (tmp_path / "readme.txt").touch()
    assert read_responses(tmp_path, RATE).names == ("a", "b")
    (tmp_path / "c.flac").touch()
    with pytest.warns(UserWarning, match=r"1 files .* no wav and are left out: c\.flac"):
        read_responses(tmp_path, RATE)


@pytest.mark.parametrize("scale", [1e20, 1e-25])
def test_very_loud_and_very_soft_responses(tmp_path: Path, scale: float) -> None:
    """Unit energy, whatever the scale; the squares of these are no float32."""
    audio = np.random.default_rng(0).standard_normal(100)
    soundfile.write(tmp_path / "a.wav", scale * audio, RATE, subtype="FLOAT")
    found = read_responses(tmp_path, RATE, 100 / RATE).taps[0].numpy()
    np.testing.assert_allclose(found, audio / np.linalg.norm(audio), rtol=1e-5)


@pytest.mark.parametrize("seconds", [0.0, 1e-5, -1.0, np.nan, np.inf])
def test_lengths_without_a_sample(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(ValueError, match=r"at 16000 Hz were asked for: give at least one sample"):
        read_responses(tmp_path, RATE, seconds)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="both need some"):
        split(made(1))


# -------------------------------------------------------------------------------------- mel gains


SETTINGS = MelSettings(hop=0.016, level=0.0, spread=1.0)


def test_a_response_that_does_nothing_has_gains_of_one() -> None:
    taps = torch.zeros(2, 400)
    taps[0, 0], taps[1, 37] = 1, -0.5
    found = mel_gains(Responses(("a", "b"), taps), SETTINGS)
    torch.testing.assert_close(found, torch.tensor([[1.0], [0.25]]).expand(2, 64))


def test_gains_are_the_mean_power_over_a_band() -> None:
    """Against a transform of another library; a response longer than the window is folded."""
    responses = made(3, taps=3000)
    size = SETTINGS.fft_samples
    folded = np.zeros((3, size))
    for first in range(0, 3000, size):
        piece = responses.taps[:, first : first + size].double().numpy()
        folded[:, : piece.shape[1]] += piece
    power = np.abs(np.fft.rfft(folded)) ** 2
    filters = mel_filters(SETTINGS).double().numpy()
    wanted = power @ filters.T / filters.sum(1)
    np.testing.assert_allclose(mel_gains(responses, SETTINGS).numpy(), wanted, rtol=1e-3)


@pytest.mark.data
def test_gains_stand_for_the_convolution_of_real_devices(shared_data: Path) -> None:
    """Noise through measured microphones moves the mean log-mel by the gains.

    To a few hundredths of a nat, which a response does within a band and beyond a window.
    """
    responses = read_responses(shared_data / "micirp", RATE).of(list(range(0, 66, 6)))
    gains = mel_gains(responses, SETTINGS).log()
    noise = 0.1 * torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(0))
    front_end = LogMel(SETTINGS)
    plain = front_end(noise)
    errors, moved = [], []
    for row, taps in enumerate(responses.taps):
        heard = signal.oaconvolve(noise.numpy()[0], taps.numpy())[: noise.shape[1]]
        shift = (front_end(torch.from_numpy(heard)[None]) - plain)[0, 0, :, 20:-20].mean(1)
        errors.append((shift - gains[row]).square().mean().sqrt())
        moved.append(shift.square().mean().sqrt())
    assert float(torch.stack(moved).median()) > 0.5, "in nats: they do change something"
    assert float(torch.stack(errors).median()) < 0.03
    assert float(torch.stack(errors).max()) < 0.1
