"""Decode an audio file to a clip of fixed rate, channels and length, or say what is wrong with it.

libsndfile reads wav, flac, ogg and others, of 8 to 32 bits or floating point. Two of its habits
matter here: it reads a wav that was cut off as a shorter one, without a word, and it hands on
samples of floating-point files that are no numbers or far too loud. All are errors here.

That a file was cut off is known of wav (RIFF, RIFX, RF64) from its header, and of flac and ogg from
decoding. W64, AIFF, AU and CAF that lack less than `TOLERANCE` are filled up with silence.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from recipes.data.listing import need_file

FULL_SCALE = 32_768
"""Divide int16 samples by this for [-1, 1)."""
LOUDEST = 8
"""A floating-point file may exceed full scale, 1, and is clipped; a peak above this, 18 dB more, is
no loud sound but another scale, such as that of int16 samples."""
TOLERANCE = 0.01
"""Difference of a clip from its length, as a share of it: lossy encoders add or lose some samples
at the ends. It is cut, or filled up with silence."""
UNKNOWN = 0x7FFF_0000
"""From here on a wav's size, 2 GB, is a placeholder: a program that writes to a pipe cannot go back
to say how long the file became, and states 0xffffffff, 0x80000000, 0x7ffff000 or the like."""
FASTEST = 1_000_000
"""Samples a second, in Hz, beyond which a rate is damage: converters end at 768,000."""
MOST = 1 << 28
"""Samples of all channels that are decoded at once, 1 GB of floating-point numbers."""
CHUNKS = 10_000
"""Parts of a wav that are looked at in search of its samples."""
NO_LENGTH = 2**63 - 1
"""Length by libsndfile of a file that does not state how many samples it has."""


@dataclass(frozen=True, kw_only=True)
class AudioFormat:
    """Format to which clips are decoded.

    Attributes:
        rate: Samples a second, in Hz; files of other rates are resampled.
        channels: 1 or 2. For mono, all channels of a file are averaged. For stereo, a mono file
            gives two equal channels, and a file of more than two is refused: which of them are
            left and right its samples do not say.
        seconds: Length of a clip; a file further than `TOLERANCE` from it is refused.
    """

    rate: int = 16_000
    channels: int = 1
    seconds: float

    def __post_init__(self) -> None:
        """Refuse settings that no file can be decoded to."""
        whole = isinstance(self.rate, int) and isinstance(self.channels, int)
        if (
            not (whole and math.isfinite(self.seconds))
            or self.rate < 1
            or self.channels not in {1, 2}
            or self.samples < 1
        ):
            raise ValueError(
                f"{self}: rate must be a positive integer, channels 1 or 2, and a clip at least "
                "one sample and not endless."
            )

    @property
    def samples(self) -> int:
        """Samples of a clip in each channel."""
        return round(self.rate * self.seconds)


def inspect(path: Path, wanted: AudioFormat) -> None:
    """Read a file's header and refuse what cannot become a clip; its samples are not decoded.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no audio, cut off, empty, or of another length or channels.
    """
    with opened(path) as sound:
        _check(path, sound, wanted)


def decode(path: Path, wanted: AudioFormat) -> np.ndarray:
    """One clip as int16 (channels, samples).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As `inspect` does, or if samples are damaged, no numbers or above `LOUDEST`.
    """
    with opened(path) as sound:
        _check(path, sound, wanted)
        rate, frames = sound.samplerate, sound.frames
        try:
            samples = sound.read(dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise undecodable(path, error) from error
    if len(samples) < frames:
        raise ended_early(path, len(samples), frames)
    refuse_odd(path, samples, rate)
    try:
        return clip_of(samples, rate, wanted)
    except (ValueError, RuntimeError) as error:  # of the resampler
        raise ValueError(
            f"{path} has a rate of {rate} Hz, which cannot be brought to {wanted.rate} Hz "
            f"({error}). Replace the file."
        ) from error


def clip_of(samples: np.ndarray, rate: int, wanted: AudioFormat) -> np.ndarray:
    """Samples of one or two channels, or of any number for mono, as a clip.

    Args:
        samples: float32 (samples, channels), full scale 1.
        rate: Theirs, in Hz.
        wanted: Format of the clip: what is too long is cut, too short filled up with silence.

    Returns:
        int16 (channels, samples).
    """
    if wanted.channels == 1:
        samples = samples.mean(axis=1, keepdims=True)
    if rate != wanted.rate:
        samples = soxr.resample(samples, rate, wanted.rate)
    clip = np.zeros((wanted.channels, wanted.samples), np.float32)
    samples = samples[: wanted.samples]
    clip[:, : len(samples)] = samples.T  # a mono file fills both channels of a stereo clip
    return np.clip(np.rint(clip * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def refuse_odd(path: Path, samples: np.ndarray, rate: int, first: int = 0) -> None:
    """Refuse (ValueError) samples that are not finite, or peak above `LOUDEST`.

    float32 (samples, channels) at a rate in Hz, from the place `first` of the file on.
    """
    odd = ~np.isfinite(samples)
    if odd.any():
        where = first + int(np.flatnonzero(odd.any(axis=1))[0])
        raise ValueError(
            f"{path} has {odd.sum()} samples that are not finite numbers, the first at "
            f"{where / rate:.3f} s. Replace the file: whatever wrote it failed."
        )
    peak = float(max(samples.max(), -samples.min()))
    if peak > LOUDEST:
        raise ValueError(
            f"{path} has a peak of {peak:.4g}, where full scale is 1: it holds floating-point "
            f"numbers of another scale. Divide them by that scale, {FULL_SCALE} if they are those "
            "of 16 bits."
        )


def ended_early(path: Path, samples: int, stated: int) -> ValueError:
    """That a file has fewer samples than it says."""
    return ValueError(
        f"{path} ends after {samples} of the {stated} samples that its header states. "
        "Copy or download the file again."
    )


def opened(path: Path) -> soundfile.SoundFile:
    """The file with its header read.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is no audio, or its header states a rate or channels that none has.
    """
    need_file(path, "Unpack or copy the data set again.")
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: named .raw, no header
        raise undecodable(path, error) from error
    if not (1 <= sound.samplerate <= FASTEST and sound.channels >= 1):
        rate, channels = sound.samplerate, sound.channels
        sound.close()
        raise ValueError(
            f"{path} states a rate of {rate} Hz and {channels} channels. Replace the file: it is "
            "damaged."
        )
    return sound


def undecodable(path: Path, error: Exception) -> ValueError:
    """Error of libsndfile, with the file's name and size."""
    return ValueError(
        f"{path} ({path.stat().st_size:,} bytes) cannot be decoded ({error}). Replace the file: it "
        "is damaged or not audio."
    )


def _check(path: Path, sound: soundfile.SoundFile, wanted: AudioFormat) -> None:
    """Refuse what the header alone shows to be no clip of this format."""
    refuse_cut_off(path)
    if sound.frames == NO_LENGTH:
        raise ValueError(
            f"{path} does not state its length, as a flac written to a pipe. Encode it again, to a "
            "file."
        )
    if sound.frames < 1:
        raise ValueError(
            f"{path} holds no samples. Replace the file: it is damaged, or recording failed."
        )
    seconds = sound.frames / sound.samplerate
    if abs(seconds - wanted.seconds) > TOLERANCE * wanted.seconds:
        raise ValueError(
            f"{path} lasts {seconds:.2f} s, clips of this data set last {wanted.seconds:g} s. "
            "Replace the file: it is damaged or of another data set."
        )
    if sound.frames * sound.channels > MOST:
        raise ValueError(
            f"{path} states {sound.frames:,} samples in each of {sound.channels} channels, more "
            f"than the {MOST:,} that are decoded at once. Replace the file: it is damaged."
        )
    if sound.channels > 2 and wanted.channels == 2:
        raise ValueError(
            f"{path} has {sound.channels} channels and stereo was asked for: which are left and "
            "right is not known. Mix the file down to two channels, or decode to mono."
        )


def refuse_cut_off(path: Path) -> None:
    """Refuse (ValueError) a wav whose header promises more samples than the file has."""
    cut = _bytes_cut_off(path)
    if cut:
        raise ValueError(
            f"{path} is cut off: it holds {path.stat().st_size:,} bytes and its header states "
            f"{cut:,} more. Copy or download the file again."
        )


def _bytes_cut_off(path: Path) -> int:
    """Bytes of samples that a wav's header promises beyond the file's end.

    A RIFF file is chunks of a name, a size and as many bytes, padded to an even number; samples
    are in the chunk named "data" (Multimedia Programming Interface and Data Specifications 1.0,
    IBM and Microsoft, 1991). In RIFX numbers begin with their highest byte. In RF64 the size of
    "data" stands in the chunk "ds64", after that of the file (EBU Tech 3306).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        kind = file.read(4)
        if kind not in {b"RIFF", b"RIFX", b"RF64"}:
            return 0
        order = ">" if kind == b"RIFX" else "<"
        position, samples = 12, None
        for _ in range(CHUNKS):
            if position + 8 > size:
                break
            file.seek(position)
            name, length = struct.unpack(f"{order}4sI", file.read(8))
            if name == b"ds64" and position + 24 <= size:
                samples = struct.unpack("<QQ", file.read(16))[1]
            if name == b"data":
                if samples is not None and length == 0xFFFF_FFFF:
                    length = samples
                return 0 if length >= UNKNOWN else max(0, position + 8 + length - size)
            position += 8 + length + length % 2
    return 0
