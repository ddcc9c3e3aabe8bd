"""Clips of a system's length, cut from any audio file, however long it is.

A file is cut where a clip ends; nothing of it is left out, and no silence is put in that a network
has not met in training:

* What is left at the end and makes no clip is taken together with the sound before it: the last
  clip is the last `seconds` of the file, and counts only for what is new in it. Less than
  `TOLERANCE` of a clip is left off.
* A file shorter than a clip is repeated until it fills one.
* A file that is one clip within `TOLERANCE` is cut or filled up as decoding a data set does: a clip
  of the data set is the same as in training, bit for bit.

Every clip is resampled by itself, as in training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from recipes.data.audio import (
    NO_LENGTH,
    TOLERANCE,
    AudioFormat,
    clip_of,
    ended_early,
    opened,
    refuse_cut_off,
    refuse_odd,
    undecodable,
)
from recipes.data.listing import need_file

SIX = (1.0, 0.0, 0.5**0.5, 0.0, 0.5**0.5, 0.0)
"""Left side of 5.1 in the order of wav and flac (front left, front right, centre, low frequencies,
back left, back right): ITU-R BS.775-3, table 2, which leaves the low frequencies out."""
FRONT_FIRST = ("WAV", "WAVEX", "W64", "RF64", "FLAC")
"""Formats whose six channels come in that order; others, such as ogg, have orders of their own."""


@dataclass(frozen=True)
class Clip:
    """Some seconds of a file.

    Attributes:
        start: Place in the file, in s.
        new: Seconds of the file in it that no clip before it has.
        audio: int16 (channels, samples), as the system takes it.
    """

    start: float
    new: float
    audio: np.ndarray


def cut(path: Path, wanted: AudioFormat, shortest: float) -> Iterator[Clip]:
    """Cut a file of any rate, length and number of channels.

    For stereo, a mono file fills both sides, 5.1 is mixed down, and of other numbers of channels
    both sides are the mean; for mono, all channels are averaged.

    Args:
        path: The file.
        wanted: Format of a clip.
        shortest: Seconds that a file must last to be cut at all.

    Yields:
        Every clip, in order; only one is in memory.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no audio, cut off, damaged, empty or too short, or has samples that
            are no numbers or far too loud.
    """
    need_file(path, "Name an audio file.")
    refuse_cut_off(path)
    with opened(path) as sound:
        length = max(1, round(wanted.seconds * sound.samplerate))
        if abs(sound.frames - length) <= TOLERANCE * length:
            length = sound.frames
        for start, new, samples in _pieces(path, sound, length, shortest):
            yield Clip(start, new, _as_asked(path, sound, samples, wanted))


def _pieces(
    path: Path, sound: soundfile.SoundFile, length: int, shortest: float
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Start and what is new, in s, and samples (length, channels) of every clip of that length."""
    rate = sound.samplerate
    before, first = np.zeros((0, sound.channels), np.float32), 0
    while len(block := _read(path, sound, length, first)) == length:
        yield first / rate, length / rate, block
        before, first = block, first + length
    end, new = first + len(block), len(block) / rate
    if end < sound.frames != NO_LENGTH:
        raise ended_early(path, end, sound.frames)
    if not first:
        yield 0.0, new, _repeated(path, block, rate, length, shortest)
    elif len(block) > TOLERANCE * length:
        yield (end - length) / rate, new, np.concatenate([before, block])[-length:]


def _read(path: Path, sound: soundfile.SoundFile, length: int, first: int) -> np.ndarray:
    """The next samples, float32 (samples, channels), fewer at the end."""
    try:
        samples = sound.read(length, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise undecodable(path, error) from error
    if len(samples):
        refuse_odd(path, samples, sound.samplerate, first)
    return samples


def _repeated(
    path: Path, samples: np.ndarray, rate: int, length: int, shortest: float
) -> np.ndarray:
    """All of a short file as often as it fills a clip."""
    if len(samples) / rate < shortest:
        raise ValueError(
            f"{path} lasts {len(samples) / rate:.3f} s ({len(samples)} samples): at least "
            f"{shortest:g} s, one window of the front end, are needed to hear anything."
        )
    return np.resize(samples, (length, samples.shape[1]))


def _as_asked(
    path: Path, sound: soundfile.SoundFile, samples: np.ndarray, wanted: AudioFormat
) -> np.ndarray:
    """Samples (samples, channels) as the system takes them: int16 (channels, samples)."""
    channels = samples.shape[1]
    if wanted.channels == 2 and channels == 6 and sound.format in FRONT_FIRST:
        left = np.array(SIX, np.float32) / np.float32(sum(SIX))  # cannot exceed full scale
        right = left[[1, 0, 2, 3, 5, 4]]
        samples = samples @ np.stack([left, right], axis=1)
    elif channels > wanted.channels:
        samples = samples.mean(axis=1, keepdims=True)
    try:
        return clip_of(samples, sound.samplerate, wanted)
    except (ValueError, RuntimeError) as error:  # of the resampler
        raise ValueError(
            f"{path} has a rate of {sound.samplerate} Hz, which cannot be brought to "
            f"{wanted.rate} Hz ({error}). Convert it first."
        ) from error
