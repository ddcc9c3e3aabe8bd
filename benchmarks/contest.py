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
from threadpoolctl import threadpool_limits

OURS = "ours"
MIB = 1 << 20
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells a process its memory, and takes "5" to forget its peak (man pages of proc)."""

Call = Callable[[], object]
"""Work that is ready to run, again and again."""
Build = Callable[[int], Call]
"""Makes the work for a number of clips; a module's own function, so that it can be run elsewhere.
"""


@dataclass(frozen=True)
class Contest:
    """Ways to do the same work.

    Attributes:
        name: What is done.
        clips: On how many clips.
        ours: Our way.
        rivals: Others, by name.
        goal: How many times faster than the first rival ours should be; None for no goal.
    """

    name: str
    clips: int
    ours: Build
    rivals: Mapping[str, Build]
    goal: float | None = None

    @property
    def ways(self) -> dict[str, Build]:
        """All by name, ours first."""
        return {OURS: self.ours, **self.rivals}


@dataclass(frozen=True)
class Result:
    """What was measured of a contest.

    Attributes:
        contest: Which.
        seconds: Of each way, one a round.
        peaks: MiB that each way adds; empty if not asked for.
    """

    contest: Contest
    seconds: dict[str, list[float]]
    peaks: dict[str, float | None]

    def rows(self) -> list[str]:
        """Table rows, one a rival."""
        return [self._row(rival, first=not i) for i, rival in enumerate(self.contest.rivals)]

    def _row(self, rival: str, *, first: bool) -> str:
        goal = self.contest.goal if first else None
        times = ratios(self.seconds[rival], self.seconds[OURS])
        met = goal is not None and median(times) >= goal
        cells = [
            self.contest.name,
            self._speed(OURS),
            rival,
            self._speed(rival),
            spread(times),
            "" if goal is None else f"{goal:g}, {'met' if met else 'missed'}",
            *(mebibytes(self.peaks.get(way)) for way in (OURS, rival)),
        ]
        return f"| {' | '.join(cells)} |"

    def _speed(self, way: str) -> str:
        return f"{self.contest.clips / median(self.seconds[way]):,.0f}"


HEAD = (
    "| what | ours, clips/s | rival | rival, clips/s | times faster | goal | MiB, ours "
    "| MiB, rival |\n|---|---|---|---|---|---|---|---|"
)


def measure(
    contest: Contest, *, n: int, least: float, device: torch.device, memory: bool
) -> Result:
    """Time every way n times, and its peak memory once if asked.

    Args:
        contest: What to measure.
        n: Rounds.
        least: Seconds that one timing lasts at least; shorter work is repeated for the mean.
        device: Where the work is done: says which clock and which memory.
        memory: Whether to measure the peaks.
    """
    built = {name: build(contest.clips) for name, build in contest.ways.items()}
    seconds = alternate(built, n=n, least=least, device=device)
    built.clear()
    peak = resident_peak if device.type == "cpu" else device_peak
    peaks = {name: peak(build, contest.clips) for name, build in contest.ways.items() if memory}
    return Result(contest, seconds, peaks)


def alternate(
    ways: Mapping[str, Call], *, n: int, least: float, device: torch.device
) -> dict[str, list[float]]:
    """Seconds a call, n of each way: of this process on a CPU, else until the device is done."""
    clock = process_time if device.type == "cpu" else perf_counter
    timers = {way: Timer(partial(_done, call, device), clock) for way, call in ways.items()}
    calls = {}
    for name, timer in timers.items():
        once = [timer.timeit(1) for _ in range(2)][1]  # the first imports and compiles
        calls[name] = max(1, round(least / once))
    found: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(n):
        for name in list(ways)[:: -1 if i % 2 else 1]:
            found[name].append(timers[name].timeit(calls[name]) / calls[name])
    return found


def _done(call: Call, device: torch.device) -> None:
    """Call, and wait for the accelerator."""
    call()
    if device.type != "cpu":
        torch.accelerator.synchronize()


def ratios(slow: Sequence[float], fast: Sequence[float]) -> list[float]:
    """One a round."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Least, median and greatest."""
    return " / ".join(f"{f(values):.2f}" for f in (min, median, max))


def mebibytes(value: float | None) -> str:
    """A cell; empty where nothing was measured."""
    return "" if value is None else f"{value:,.1f}"


def one_thread() -> None:
    """Of torch and of numpy's own library, which does not ask torch."""
    torch.set_num_threads(1)
    threadpool_limits(1)


# ----------------------------------------------------------------------------------------- memory


def resident_peak(build: Build, clips: int) -> float | None:
    """MiB of main memory that the work adds to a fresh process of one thread, which holds its data.

    The process has done the work for two clips before, so that libraries are there. `ru_maxrss`
    would not do: a child starts with its parent's.

    Returns:
        None where there is no such account, as anywhere but on Linux.
    """
    if not CLEAR.exists():
        return None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_resident_peak, build, clips).result()


def _resident_peak(build: Build, clips: int) -> float:
    one_thread()
    build(2)()
    call = build(clips)
    CLEAR.write_text("5")
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """One line of the account, in KiB."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def device_peak(build: Build, clips: int) -> float:
    """MiB of the accelerator's memory that the work adds to its data and weights."""
    build(clips)()  # the libraries' own workspaces
    call = build(clips)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / MIB
