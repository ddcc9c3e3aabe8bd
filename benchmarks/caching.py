"""Decoding by `recipes.data.cache`, with more and more threads, beside a loop over `librosa.load`.

Part of `benchmarks.training`. The files are dealt into n parts; every way decodes every part once,
in turn, into a cache of its own, after the part was read so that no way waits for the disk.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import soundfile

from benchmarks import plain
from benchmarks.contest import Call, ratios, spread
from benchmarks.dense import data_root
from recipes.data.audio import AudioFormat
from recipes.data.cache import waveforms
from recipes.data.esc50 import FORMAT, read_esc50

TAU = AudioFormat(rate=plain.RATE, seconds=1)
TAU_RATE = 44_100
HEAD = (
    "| files | way | files/s | times faster | times less CPU | opened again, ms |\n"
    "|---|---|---|---|---|---|"
)
ABOUT = (
    "## Decoding into the cache\n\n"
    "To 16 kHz mono; the files dealt into n = {n} parts, each decoded in every way. Times faster "
    "in seconds, and in CPU seconds of all threads, paired in a part; opened again: a second call "
    "on a part. All min / median / max.\n"
)


@dataclass(frozen=True)
class Timing:
    """Of one part: seconds, CPU seconds of all threads, and seconds of opening it again."""

    seconds: float
    cpu: float
    again: float


def table(esc50: int, wavs: int, n: int) -> str:
    """Files of ESC-50, where it is there, and generated ones.

    Args:
        esc50: How many files of ESC-50.
        wavs: How many generated wav files, one second of noise, mono at 44.1 kHz, as in TAU 2022.
        n: Parts.
    """
    lines = [ABOUT.format(n=n), HEAD]
    root = data_root() / "esc50"
    if (root / "meta" / "esc50.csv").is_file():
        paths = read_esc50(root).paths[:esc50]
        rate = soundfile.info(paths[0]).samplerate / 1000
        name = f"{len(paths)} of ESC-50, 5 s, {rate:g} kHz, {paths[0].suffix[1:]}"
        lines += rows(name, paths, FORMAT, n)
    with TemporaryDirectory() as folder:
        paths = write_wavs(Path(folder), wavs)
        lines += rows(f"{wavs} generated, 1 s, 44.1 kHz, wav", paths, TAU, n)
    return "\n".join(lines)


def write_wavs(folder: Path, count: int) -> list[Path]:
    """Noise in 16 bits."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.wav" for i in range(count)]
    for path in paths:
        soundfile.write(path, rng.uniform(-0.1, 0.1, TAU_RATE), TAU_RATE, subtype="PCM_16")
    return paths


def rows(name: str, paths: Sequence[Path], wanted: AudioFormat, n: int) -> list[str]:
    """One row for the loop and one for every number of threads."""
    workers = sorted({1, 2, os.cpu_count() or 1})
    loop, found = [], {count: [] for count in workers}
    plain.load_all(paths[:1])  # librosa imports when it is used
    for part in range(n):
        files = paths[part::n]
        for path in files:
            path.read_bytes()
        for count in ([None, *workers], [*workers[::-1], None])[part % 2]:
            if count is None:
                loop.append(timed_loop(files))
            else:
                found[count].append(timed_cache(files, wanted, count))
    size = len(paths) / n
    return [
        f"| {name} | librosa.load | {_speed(loop, size)} | | | |",
        *(_row(name, count, timings, loop, size) for count, timings in found.items()),
    ]


def timed_loop(files: Sequence[Path]) -> Timing:
    """The straightforward way, which keeps nothing."""
    seconds, cpu = _timed(partial(plain.load_all, files))
    return Timing(seconds, cpu, seconds)


def timed_cache(files: Sequence[Path], wanted: AudioFormat, workers: int) -> Timing:
    """Into a new cache, and once more from it."""
    with TemporaryDirectory() as folder:
        call = partial(waveforms, files, wanted, Path(folder), workers=workers)
        seconds, cpu = _timed(call)
        again, _ = _timed(call)
    return Timing(seconds, cpu, again)


def _timed(call: Call) -> tuple[float, float]:
    """Seconds and CPU seconds."""
    start, cpu = perf_counter(), process_time()
    call()
    return perf_counter() - start, process_time() - cpu


def _speed(timings: Sequence[Timing], size: float) -> str:
    return f"{size / median(t.seconds for t in timings):,.0f}"


def _row(
    name: str, workers: int, timings: Sequence[Timing], loop: Sequence[Timing], size: float
) -> str:
    cells = [
        name,
        f"cache, {workers} thread{'s'[: workers - 1]}",
        _speed(timings, size),
        spread(ratios([t.seconds for t in loop], [t.seconds for t in timings])),
        spread(ratios([t.cpu for t in loop], [t.cpu for t in timings])),
        spread([1000 * t.again for t in timings]),
    ]
    return f"| {' | '.join(cells)} |"
