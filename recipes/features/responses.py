"""Impulse responses of measured microphones, to convolve waveforms with.

MicIRP (Xaudia) has 66 responses of mostly vintage microphones; convolving with them at random makes
a network robust to devices it has not met (T. Morocutti et al., "Device-Robust Acoustic Scene
Classification via Impulse Response Augmentation", EUSIPCO 2023). Responses that a test uses must
not be among those of training: `split` keeps all microphones of one maker on one side.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from torch.nn import functional

from recipes.data.audio import refuse_cut_off
from recipes.data.listing import first_of
from recipes.features.logmel import MelSettings, mel_filters

NOT_READ = {".flac", ".ogg", ".aif", ".aiff", ".caf", ".au", ".w64", ".mp3"}
"""Sound in a folder of responses that is left out with a warning: collections come as wav."""


@dataclass(frozen=True)
class Responses:
    """Impulse responses of one length; entry i of both fields belongs to device i.

    Attributes:
        names: File names without suffix.
        taps: float32 (devices, samples), each of unit energy, so that a clip keeps its level.
    """

    names: tuple[str, ...]
    taps: Tensor

    def __len__(self) -> int:
        """Number of devices."""
        return len(self.names)

    def of(self, rows: list[int]) -> Responses:
        return Responses(tuple(self.names[row] for row in rows), self.taps[rows])


def read_responses(folder: Path, rate: int, seconds: float = 0.25) -> Responses:
    """Every response of a folder of wav files (also .WAV), in the order of their names.

    The silence before a response is cut, down to a thousandth of its peak, so that no device shifts
    its clips; the tail is cut at `seconds` or filled with zeros.

    Args:
        folder: With the wav files; the first channel of each is read.
        rate: Sample rate that they are brought to, in Hz.
        seconds: Length of every response.

    Raises:
        FileNotFoundError: If the folder has no wav file.
        ValueError: If a file cannot be read, is cut off or silent; if a response would not have one
            sample.
    """
    samples = round(seconds * rate) if math.isfinite(seconds * rate) else 0
    if samples < 1:
        raise ValueError(
            f"Responses of {seconds:g} s at {rate} Hz were asked for: give at least one sample."
        )
    files = sorted(Path(folder).glob("*"))
    paths = [path for path in files if path.suffix.lower() == ".wav"]
    others = [path.name for path in files if path.suffix.lower() in NOT_READ]
    if not paths:
        raise FileNotFoundError(
            f"{folder} has no wav file. Give a folder of impulse responses, such as MicIRP's, "
            "unpacked."
        )
    if others:
        warnings.warn(
            f"{len(others)} files of {folder} are no wav and are left out: {first_of(others)}",
            stacklevel=2,
        )
    taps = np.stack([_read(path, rate, samples) for path in paths])
    return Responses(tuple(path.stem for path in paths), torch.from_numpy(taps))


def _read(path: Path, rate: int, samples: int) -> np.ndarray:
    """One response (samples,) of unit energy."""
    try:
        audio, own = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path} cannot be decoded ({error}). Replace the file: it is damaged or not audio."
        ) from error
    refuse_cut_off(path)
    heard = audio[:, 0] if own == rate else soxr.resample(audio[:, 0], own, rate)
    level = np.abs(heard)
    if not (np.isfinite(heard).all() and len(level) and level.max() > 0):
        raise ValueError(
            f"{path} is empty, silent or not finite: it is no impulse response. Remove it."
        )
    start = int(np.argmax(level > level.max() / 1000))
    taps = np.zeros(samples, np.float32)
    body = heard[start : start + samples]
    taps[: len(body)] = body
    # In float64: squares of very loud or soft responses leave float32.
    return (taps / np.linalg.norm(taps.astype(np.float64))).astype(np.float32)


def mel_gains(responses: Responses, settings: MelSettings) -> Tensor:
    """Factor by which a device changes the mel power of a signal of a flat spectrum.

    Args:
        responses: At the sample rate of the settings.
        settings: Settings of the spectrogram.

    Returns:
        float32 (devices, mels): the mean of the response's power over the frequencies of a band,
        weighted by the band's filter.
    """
    filters = mel_filters(settings)
    bins = filters.shape[1]
    # Longer than the transform, a response is folded to its length: the power at the same bins.
    taps = responses.taps
    taps = functional.pad(taps, (0, -taps.shape[1] % settings.fft_samples))
    folded = taps.reshape(len(responses), -1, settings.fft_samples).sum(1)
    power = torch.fft.rfft(folded)[:, :bins].abs().square()
    return power @ filters.T / filters.sum(1)


def maker(name: str) -> str:
    """Maker of the microphone of a MicIRP file: its first three letters, without an "IR_" before.

    The collection has several responses of one make, and some of one microphone
    (`IR_RCAKU3a`, `RCA_KU3a_1`), whose names begin alike.
    """
    return name.removeprefix("IR_")[:3].lower()


def split(
    responses: Responses, held_out: float = 0.3, seed: int = 0
) -> tuple[Responses, Responses]:
    """Responses for training and others for the test, no maker in both.

    `held_out` is the test's share, met as nearly as whole makers allow, drawn by the seed. An empty
    part is refused (ValueError).
    """
    makers = sorted({maker(name) for name in responses.names})
    test: list[int] = []
    for index in np.random.default_rng(seed).permutation(len(makers)):
        own = [i for i, name in enumerate(responses.names) if maker(name) == makers[index]]
        if len(test) + len(own) / 2 <= held_out * len(responses):
            test += own
    train = [i for i in range(len(responses)) if i not in set(test)]
    if not train or not test:
        raise ValueError(
            f"Holding out {held_out:.0%} of {len(responses)} responses of {len(makers)} makers "
            f"leaves {len(train)} for training and {len(test)} for the test: both need some."
        )
    return responses.of(train), responses.of(sorted(test))
