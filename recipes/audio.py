"""Decode audio files to 16 kHz mono clips of one length, many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import soxr
from rich.console import Console
from rich.progress import track

SAMPLE_RATE = 16_000
FULL_SCALE = 32_768
"""Divide int16 samples by this for [-1, 1)."""


def decode(path: Path, seconds: float) -> np.ndarray:
    """One clip as int16 (16000 * seconds,), mixed to mono, resampled to 16 kHz where it is not.

    Raises:
        ValueError: If the file cannot be decoded or does not last that long.
    """
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        msg = f"{path} cannot be decoded ({error}). Replace the file: it is damaged or not audio."
        raise ValueError(msg) from error
    # Lossy encoders may add or lose some samples at the ends; a hundredth of the clip is no matter.
    if abs(len(samples) / rate - seconds) > seconds / 100:
        msg = (
            f"{path} lasts {len(samples) / rate:.2f} s, clips of this data set last {seconds:g} s. "
            "Replace the file: it is damaged or of another data set."
        )
        raise ValueError(msg)
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        mono = soxr.resample(mono, rate, SAMPLE_RATE)
    clip = np.zeros(round(SAMPLE_RATE * seconds), np.float32)
    mono = mono[: len(clip)]
    clip[: len(mono)] = mono
    return np.clip(np.rint(clip * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def decode_all(paths: Sequence[Path], seconds: float, workers: int = 4) -> np.ndarray:
    """Clips as int16 (files, 16000 * seconds), in the order given, with a bar on a terminal.

    Threads are enough, as the decoder and the resampler release Python's lock.

    Raises:
        ValueError: If a file cannot be decoded or does not last that long.
    """
    audio = np.empty((len(paths), round(SAMPLE_RATE * seconds)), np.int16)
    console = Console(stderr=True)
    with ThreadPoolExecutor(workers) as pool:
        bar = track(
            pool.map(partial(decode, seconds=seconds), paths),
            description="Decoding audio",
            total=len(paths),
            console=console,
            disable=not console.is_terminal,
        )
        for row, clip in zip(audio, bar, strict=True):
            row[:] = clip
    return audio
