"""Decoding by `recipes.data.cache`, with more and more threads, beside a loop over `librosa`.

Part of `benchmarks.speed.training`. The files are dealt into n parts; every way decodes every part
once, in turn, into a cache of its own, after the part was read so that no way waits for the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import soundfile

from benchmarks.common.contest import Call, ratios
from benchmarks.common.sound import RATE, data_root, has_esc50
from benchmarks.common.tables import extremes, table
from benchmarks.speed import plain
from recipes.data.audio import AudioFormat
from recipes.data.cache import waveforms
from recipes.data.esc50 import FORMAT, read_esc50

TAU = AudioFormat(rate=RATE, seconds=1)
TAU_RATE = 44_100
LOOP = "librosa.load"
Timing = tuple[float, float, float]
"""Of one part: seconds, CPU seconds of all threads, and seconds of opening it again."""
HEAD = ("files", "way", "files/s", "times faster", "times less CPU", "opened again, ms")
ABOUT = (
    "To 16 kHz mono; the files dealt into n = {n} parts, each decoded in every way. Times faster "
    "in seconds, and in CPU seconds of all threads, paired in a part; opened again: a second call "
    "on a part. All min / median / max."
)


def section(esc50: int, wavs: int, n: int) -> list[str]:
    """Title, words and table of n parts: files of ESC-50, where it is there, and generated ones.

    These are wav files of one second of noise, mono at 44.1 kHz, as in TAU 2022.
    """
    found: list[list[str]] = []
    if has_esc50():
        paths = read_esc50(data_root() / "esc50").paths[:esc50]
        rate = soundfile.info(paths[0]).samplerate / 1000
        name = f"{len(paths)} of ESC-50, 5 s, {rate:g} kHz, {paths[0].suffix[1:]}"
        found += rows(name, paths, FORMAT, n)
    with TemporaryDirectory() as folder:
        paths = write_wavs(Path(folder), wavs)
        found += rows(f"{wavs} generated, 1 s, 44.1 kHz, wav", paths, TAU, n)
    return ["## Decoding into the cache", ABOUT.format(n=n), table(HEAD, found)]


def write_wavs(folder: Path, count: int) -> list[Path]:
    """Noise in 16 bits."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{i}.wav" for i in range(count)]
    for path in paths:
        soundfile.write(path, rng.uniform(-0.1, 0.1, TAU_RATE), TAU_RATE, subtype="PCM_16")
    return paths


def rows(name: str, paths: Sequence[Path], wanted: AudioFormat, n: int) -> list[list[str]]:
    """One row for the loop and one for every number of threads."""
    ways: dict[str, Callable[[Sequence[Path]], Timing]] = {LOOP: timed_loop}
    for count in sorted({1, 2, os.cpu_count() or 1}):
        way = f"cache, {count} thread{'s'[: count - 1]}"
        ways[way] = partial(timed_cache, wanted=wanted, workers=count)
    found: dict[str, list[Timing]] = {way: [] for way in ways}
    plain.load_all(paths[:1])  # librosa imports when it is used
    for part in range(n):
        files = paths[part::n]
        for path in files:
            path.read_bytes()
        for way in list(ways)[:: -1 if part % 2 else 1]:
            found[way].append(ways[way](files))

    def row(way: str) -> list[str]:
        seconds, cpu, again = zip(*found[way], strict=True)
        speed = f"{len(paths) / n / median(seconds):,.0f}"
        if way == LOOP:
            return [name, way, speed, "", "", ""]
        theirs, their_cpu, _ = zip(*found[LOOP], strict=True)
        times = ratios(theirs, seconds), ratios(their_cpu, cpu), [1000 * s for s in again]
        return [name, way, speed, *map(extremes, times)]

    return [row(way) for way in ways]


def timed_loop(files: Sequence[Path]) -> Timing:
    """The straightforward way, which keeps nothing."""
    seconds, cpu = _timed(partial(plain.load_all, files))
    return seconds, cpu, seconds


def timed_cache(files: Sequence[Path], wanted: AudioFormat, workers: int) -> Timing:
    """Into a new cache, and once more from it."""
    with TemporaryDirectory() as folder:
        call = partial(waveforms, files, wanted, Path(folder), workers=workers)
        seconds, cpu = _timed(call)
        again, _ = _timed(call)
    return seconds, cpu, again


def _timed(call: Call) -> tuple[float, float]:
    """Seconds and CPU seconds."""
    start, cpu = perf_counter(), process_time()
    call()
    return perf_counter() - start, process_time() - cpu
