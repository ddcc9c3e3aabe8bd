"""Decoding: every kind of file to one format, and every kind of damage named."""

from __future__ import annotations

import struct
from math import gcd
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy import signal

from recipes.data.audio import FULL_SCALE, AudioFormat, decode, inspect

MONO = AudioFormat(rate=16_000, channels=1, seconds=1)
STEREO = AudioFormat(rate=48_000, channels=2, seconds=1)


def tone(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def noise(rate: int, channels: int = 1, seconds: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(-0.5, 0.5, (round(rate * seconds), channels))


def refused(path: Path, wanted: AudioFormat, message: str) -> None:
    """Both the look at the header and the decoder refuse the file by name."""
    for reader in (inspect, decode):
        with pytest.raises(ValueError, match=message) as caught:
            reader(path, wanted)
        assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "step"),
    [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-15), ("PCM_32", 2**-15),
     ("FLOAT", 2**-15), ("DOUBLE", 2**-15)],
)  # fmt: skip
def test_every_depth_is_the_sound_within_its_step(tmp_path: Path, kind: str, step: float) -> None:
    samples = noise(16_000)[:, 0]
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype=kind)
    clip = decode(tmp_path / "a.wav", MONO)
    assert (clip.dtype, clip.shape) == (np.int16, (1, 16_000))
    assert np.abs(clip[0] / FULL_SCALE - samples).max() <= 1.01 * step


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_a_resampled_tone_is_the_tone(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440, rate), rate, subtype="FLOAT")
    clip = decode(tmp_path / "a.wav", MONO)[0] / FULL_SCALE
    middle = slice(1000, 15_000)
    assert np.abs(clip - tone(440, 16_000))[middle].max() < 1e-3


def test_resampling_agrees_with_another_program(tmp_path: Path) -> None:
    """Noise below 6 kHz, where no anti-aliasing filter cuts, against scipy's polyphase filter."""
    low = signal.sosfiltfilt(signal.butter(8, 5_000, fs=44_100, output="sos"), noise(44_100)[:, 0])
    soundfile.write(tmp_path / "a.wav", low, 44_100, subtype="FLOAT")
    common = gcd(16_000, 44_100)
    expected = signal.resample_poly(low, 16_000 // common, 44_100 // common)
    clip = decode(tmp_path / "a.wav", MONO)[0] / FULL_SCALE
    error = (clip - expected)[500:-500]
    assert np.sqrt(np.mean(error**2)) < 0.01 * np.sqrt(np.mean(expected**2))


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_mono_is_the_mean_of_all_channels(tmp_path: Path, channels: int) -> None:
    samples = noise(16_000, channels)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    clip = decode(tmp_path / "a.wav", MONO)[0]
    assert np.abs(clip - FULL_SCALE * samples.mean(axis=1)).max() <= 0.51


def test_stereo_keeps_left_and_right(tmp_path: Path) -> None:
    samples = noise(48_000, 2)
    soundfile.write(tmp_path / "a.wav", samples, 48_000, subtype="FLOAT")
    assert np.abs(decode(tmp_path / "a.wav", STEREO) - FULL_SCALE * samples.T).max() <= 0.51
    half = AudioFormat(rate=16_000, channels=2, seconds=1)
    each = []
    for channel in (0, 1):
        soundfile.write(tmp_path / "b.wav", samples[:, channel], 48_000, subtype="FLOAT")
        each.append(decode(tmp_path / "b.wav", MONO)[0])
    np.testing.assert_array_equal(decode(tmp_path / "a.wav", half), each)


def test_a_mono_file_fills_both_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(48_000), 48_000)
    left, right = decode(tmp_path / "a.wav", STEREO)
    assert np.array_equal(left, right)
    assert left.any()


def test_six_channels_are_no_stereo(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(48_000, 6), 48_000)
    refused(tmp_path / "a.wav", STEREO, "has 6 channels and stereo was asked for")


def test_loud_floats_are_clipped_and_do_not_wrap(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 4 * noise(16_000), 16_000, subtype="FLOAT")
    clip = decode(tmp_path / "a.wav", MONO)[0]
    assert (clip.min(), clip.max()) == (-32_768, 32_767)
    assert np.array_equal(clip > 0, noise(16_000)[:, 0] > 0)


@pytest.mark.parametrize(
    ("scale", "channels", "subtype", "message"),
    [
        (32_768, 1, "FLOAT", r"peak of 1\.638e\+04, where full scale is 1.*32768"),
        (18, 1, "DOUBLE", r"peak of 9, where full scale is 1"),
        (6e38, 2, "FLOAT", r"peak of 3e\+38, where"),  # the sum of channels is no float32
        (1e40, 1, "DOUBLE", "not finite numbers"),
    ],
)
def test_floats_of_another_scale(
    tmp_path: Path, scale: float, channels: int, subtype: str, message: str
) -> None:
    soundfile.write(tmp_path / "a.wav", scale * noise(48_000, channels), 48_000, subtype=subtype)
    with pytest.raises(ValueError, match=rf"a\.wav has .*{message}"):
        decode(tmp_path / "a.wav", MONO)


@pytest.mark.parametrize("samples", [15_900, 16_100])
def test_a_hundredth_more_or_less_is_cut_or_filled_with_silence(
    tmp_path: Path, samples: int
) -> None:
    soundfile.write(tmp_path / "a.wav", noise(16_000, seconds=samples / 16_000), 16_000)
    inspect(tmp_path / "a.wav", MONO)
    clip = decode(tmp_path / "a.wav", MONO)[0]
    assert np.flatnonzero(clip)[-1] == min(samples, 16_000) - 1


@pytest.mark.parametrize("seconds", [0.98, 1.02])
def test_another_length(tmp_path: Path, seconds: float) -> None:
    soundfile.write(tmp_path / "a.wav", noise(16_000, seconds=seconds), 16_000)
    refused(tmp_path / "a.wav", MONO, rf"lasts {seconds} s, clips of this data set last 1 s")


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "AIFF"])
def test_no_samples(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, noise(16_000)[:0], 16_000, format=kind, subtype="PCM_16")
    refused(path, MONO, "holds no samples")


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no audio at all" * 9])
def test_what_is_no_audio(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    refused(tmp_path / "a.wav", MONO, rf"\({len(content)} bytes\) cannot be decoded")


@pytest.mark.parametrize(
    ("kind", "endian"), [("WAV", "LITTLE"), ("WAVEX", "LITTLE"), ("WAV", "BIG"), ("RF64", "FILE")]
)
@pytest.mark.parametrize("cut", [2, 200, 20_000])
def test_a_wav_that_was_cut_off(tmp_path: Path, kind: str, endian: str, cut: int) -> None:
    """libsndfile itself reads it as a shorter one; two hundred bytes are within the tolerance."""
    path = tmp_path / "a.wav"
    samples = noise(16_000)
    soundfile.write(path, samples, 16_000, format=kind, subtype="PCM_16", endian=endian)
    assert np.abs(decode(path, MONO) / FULL_SCALE - samples.T).max() <= 1.01 / FULL_SCALE
    path.write_bytes(path.read_bytes()[:-cut])
    assert soundfile.info(path).frames == 16_000 - cut // 2
    refused(path, MONO, f"is cut off: it holds .* bytes and its header states {cut:,} more")


def test_chunks_before_and_after_the_samples_are_no_damage(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000, subtype="PCM_16")
    content = (tmp_path / "a.wav").read_bytes()
    odd = struct.pack("<4sI", b"junk", 3) + b"abc\0"  # padded to an even number of bytes
    (tmp_path / "b.wav").write_bytes(content[:12] + odd + content[12:] + odd)
    assert np.array_equal(decode(tmp_path / "b.wav", MONO), decode(tmp_path / "a.wav", MONO))


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0xFFFF_FFDB, 0x8000_0000, 0x7FFF_FFFF, 0x7FFF_F000])
@pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
def test_a_wav_written_to_a_pipe_states_no_size(tmp_path: Path, size: int, endian: str) -> None:
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000, subtype="PCM_16", endian=endian)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = size.to_bytes(4, endian.lower())
    (tmp_path / "b.wav").write_bytes(content)
    assert np.array_equal(decode(tmp_path / "b.wav", MONO), decode(tmp_path / "a.wav", MONO))


def test_a_flac_that_was_cut_off_is_found_by_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(16_000), 16_000)
    path.write_bytes(path.read_bytes()[:-9_000])
    inspect(path, MONO)  # its header is whole
    with pytest.raises(ValueError, match=r"a\.flac .*(cannot be decoded|ends after)"):
        decode(path, MONO)


def test_a_flac_without_a_length(tmp_path: Path) -> None:
    """As the encoder leaves it on a pipe: 36 bits of its first block are zero."""
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(16_000), 16_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    refused(path, MONO, "does not state its length, as a flac written to a pipe")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    samples = noise(16_000)
    samples[8_000:8_003] = value
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"a\.wav has 3 samples .* the first at 0\.500 s"):
        decode(tmp_path / "a.wav", MONO)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for reader in (inspect, decode):
        with pytest.raises(FileNotFoundError, match=r"There is no .*a\.wav"):
            reader(tmp_path / "a.wav", MONO)


def test_what_is_no_file_or_has_no_header(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()
    refused(tmp_path / "a.wav", MONO, "is no file but a folder or a device")
    (tmp_path / "a.raw").write_bytes(bytes(32_000))
    refused(tmp_path / "a.raw", MONO, r"\(32,000 bytes\) cannot be decoded")


@pytest.mark.parametrize(
    "change",
    [
        {"rate": 0},
        {"rate": 16_000.5},
        {"channels": 3},
        {"channels": 1.0},
        {"seconds": 0},
        {"seconds": -1},
        {"seconds": np.inf},
        {"seconds": np.nan},
    ],
)
def test_formats_that_no_file_can_have(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="channels 1 or 2"):
        AudioFormat(**{"seconds": 1, **change})
