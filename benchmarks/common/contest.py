"""Ways to do the same work, run in turn in one process: how many times faster, and peak memory.

Every way runs once uncounted, then n rounds follow, forwards and backwards by turns. A ratio is of
two timings of one round, so that what slows the machine for a while slows both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from timeit import Timer

import torch

from benchmarks.common.command import one_thread
from benchmarks.common.tables import extremes

OURS = "ours"
MIB = 1 << 20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells a process its memory, and takes "5" to forget its peak (man pages of proc)."""

Call = Callable[[], object]
"""Work that is ready to run, again and again."""
Build = Callable[[int], Call]
"""Makes the work for a number of clips; a module's own function, to be run in another process."""


@dataclass(frozen=True)
class Contest:
    """Ways to do the same work on a number of clips: ours, and rivals by name.

    The goal is how many times faster than the first rival ours should be; None for no goal.
    """

    name: str
    clips: int
    ours: Build
    rivals: Mapping[str, Build]
    goal: float | None = None


@dataclass(frozen=True)
class Result:
    """Seconds of each way of a contest, one a round, and MiB that it adds, where asked for."""

    contest: Contest
    seconds: dict[str, list[float]]
    peaks: dict[str, float | None]

    def rows(self) -> list[list[str]]:
        """Table rows, one a rival."""
        return [self._row(rival, first=not i) for i, rival in enumerate(self.contest.rivals)]

    def _row(self, rival: str, *, first: bool) -> list[str]:
        goal = self.contest.goal if first else None
        times = ratios(self.seconds[rival], self.seconds[OURS])
        met = goal is not None and median(times) >= goal
        return [
            self.contest.name,
            self._speed(OURS),
            rival,
            self._speed(rival),
            extremes(times),
            "" if goal is None else f"{goal:g}, {'met' if met else 'missed'}",
            *("" if mib is None else f"{mib:,.1f}" for mib in map(self.peaks.get, (OURS, rival))),
        ]

    def _speed(self, way: str) -> str:
        return f"{self.contest.clips / median(self.seconds[way]):,.0f}"


HEAD = (
    "what", "ours, clips/s", "rival", "rival, clips/s", "times faster", "goal", "MiB, ours",
    "MiB, rival",
)  # fmt: skip


def measure(
    contest: Contest, *, n: int, least: float, device: torch.device, memory: bool
) -> Result:
    """Time every way n times (`alternate`), and its peak memory once if asked."""
    ways = {OURS: contest.ours, **contest.rivals}
    built = {name: build(contest.clips) for name, build in ways.items()}
    seconds = alternate(built, n=n, least=least, device=device)
    built.clear()
    peak = resident_peak if device.type == "cpu" else device_peak
    peaks = {name: peak(build, contest.clips) for name, build in ways.items() if memory}
    return Result(contest, seconds, peaks)


def alternate(
    ways: Mapping[str, Call], *, n: int, least: float, device: torch.device
) -> dict[str, list[float]]:
    """Seconds a call, n of each way: of this process on a CPU, else until the device is done.

    A timing lasts at least so long: shorter work is repeated for the mean.
    """
    clock = process_time if device.type == "cpu" else perf_counter
    timers = {way: Timer(partial(_done, call, device), clock) for way, call in ways.items()}
    once = {way: timer.repeat(2, 1)[1] for way, timer in timers.items()}  # the first compiles
    calls = {way: max(1, round(least / seconds)) for way, seconds in once.items()}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(n):
        for name in list(ways)[:: -1 if i % 2 else 1]:
            found[name].append(timers[name].timeit(calls[name]) / calls[name])
    return found


def _done(call: Call, device: torch.device) -> None:
    call()
    if device.type != "cpu":
        torch.accelerator.synchronize()


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """One a round."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def resident_peak(build: Build, clips: int) -> float | None:
    """MiB of main memory that the work adds to a fresh process of one thread, which holds its data.

    The process has done the work for two clips before, so that libraries are there. `ru_maxrss`
    would not do: a child starts with its parent's. None where there is no account but on Linux.
    """
    if not CLEAR.exists():
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_resident_peak, build, clips).result()


def _resident_peak(build: Build, clips: int) -> float:
    one_thread()
    build(2)()
    return added(build(clips)) or 0.0


def added(call: Call) -> float | None:
    """MiB of main memory that a call adds at most to what the process holds before.

    None where there is no account but on Linux; it is called there as well.
    """
    if not CLEAR.exists():
        call()
        return None
    CLEAR.write_text("5")
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    words = STATUS.read_text().split()
    return int(words[words.index(f"{name}:") + 1])  # KiB


def device_peak(build: Build, clips: int) -> float:
    """MiB of the accelerator's memory that the work adds to its data and weights."""
    build(clips)()  # the libraries' own workspaces
    call = build(clips)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / MIB
