"""The course of a sweep: which trials are left, who makes them, what is written of them.

What counts is on disk, in the trials' folders: a sweep that was killed at any moment goes on from
there.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from compressor.storage import write_bytes
from recipes.files.lock import locked
from recipes.running.overrides import override
from recipes.running.run_folder import RunFolder, plain
from recipes.sweeps.pareto import Candidate, candidate, markdown, plot
from recipes.sweeps.search import Dimension, Grid, Point, Search, Study, seeds_of
from recipes.sweeps.trial import RECORD, Job, Record, read_record, settings_of
from recipes.sweeps.workers import Workers

LONGEST = 120
"""Characters of a folder's name; what is longer is cut and ends in a digest."""


@dataclass(frozen=True)
class Sweep:
    """What is tried.

    Attributes:
        folder: Of the sweep.
        job: What all trials share; point, seed and folder are each trial's own.
        found: What is varied.
        study: Points that Optuna proposes; None for all combinations.
        again: Whether trials that failed before are made again.
    """

    folder: Path
    job: Job
    found: Sequence[Dimension]
    study: int | None = None
    again: bool = False

    def jobs(self, point: Point) -> list[Job]:
        """The trials of a point, one for each seed."""
        seeds = seeds_of(self.found) or (self.job.seed,)
        return [self._job(point, seed) for seed in seeds]

    def _job(self, point: Point, seed: str | None) -> Job:
        words = [*point, *([] if seed is None else [f"seed={seed}"])]
        folder = self.folder / folder_name(words)
        return replace(self.job, point=point, seed=seed, folder=str(folder))


def folder_name(words: Sequence[str]) -> str:
    """A name by which a person knows the settings; different settings have different names."""
    text = "-".join(words) or "paper"
    name = re.sub(r"[^\w.=+-]+", "_", text)
    if name == text and len(name) <= LONGEST:
        return name
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:8]
    return f"{name[:LONGEST]}-{digest}"


class _Course:
    """A sweep under way; all that counts is on disk."""

    def __init__(self, sweep: Sweep, search: Search, workers: Workers) -> None:
        self.points: list[Point] = []  # that were begun
        self.over = 0  # trials, of an earlier call or of this
        self.lost: dict[str, str] = {}  # trials that stopped without a record, and how
        self._sweep, self._search, self._workers = sweep, search, workers
        self._waiting: deque[Job] = deque()
        self._open: dict[Point, set[str]] = {}  # folders of a point's trials that are not over
        self._made: set[str] = set()
        self._running = 0

    def feed(self) -> bool:
        """Give the workers as much as they can do at once; false when all is over."""
        while self._running < self._workers.capacity:
            if self._waiting:
                self._workers.submit(self._waiting.popleft())
                self._running += 1
                continue
            point = self._search.ask()
            if point is None:
                break
            self._begin(point)
        return self._running > 0

    def next(self) -> Job:
        """Wait for a trial to be over."""
        job, lost = self._workers.wait()
        self._running -= 1
        self.over += 1
        self._made.add(job.folder)
        if lost is not None:
            self.lost[job.folder] = lost
        self._open[job.point].discard(job.folder)
        if not self._open[job.point]:
            del self._open[job.point]
            self._tell(job.point)
        return job

    def _begin(self, point: Point) -> None:
        """Queue the trials of a point that are not over; a study may propose one twice."""
        if point in self._open:
            return
        if point not in self.points:
            self.points.append(point)
        jobs = self._sweep.jobs(point)
        left = [job for job in jobs if not self._is_over(job)]
        self.over += len(jobs) - len(left)
        self._waiting.extend(left)
        if left:
            self._open[point] = {job.folder for job in left}
        else:
            self._tell(point)

    def _is_over(self, job: Job) -> bool:
        record = read_record(Path(job.folder))
        if job.folder in self._made or record is None:
            return job.folder in self._made
        return record.state == "done" or (record.state == "failed" and not self._sweep.again)

    def _tell(self, point: Point) -> None:
        found = candidate_of(self._sweep, point, 1)
        self._search.tell(point, found and (found.accuracy, found.macs, found.bytes))


@dataclass(frozen=True)
class Found:
    """What a sweep came to.

    Attributes:
        candidates: Points of which every trial is done.
        missing: Trials without figures, and why, a line each.
    """

    candidates: tuple[Candidate, ...]
    missing: tuple[str, ...]


def run(sweep: Sweep, workers: Workers, console: Console) -> Found:
    """Make all trials that are not finished, and write table and picture.

    Args:
        sweep: What is tried.
        workers: Who makes the trials.
        console: What is said to people.

    Raises:
        OSError: If another process makes this sweep.
        ValueError: If the folder is another sweep's, or a setting is refused.
    """
    identity = _check(sweep)
    with locked(sweep.folder / ".lock", f"makes the sweep {sweep.folder}"):
        RunFolder(sweep.folder).begin(identity, str(sweep.job.data or "generated scenes"))
        search, total = _search(sweep)
        course = _Course(sweep, search, workers)
        try:
            with _bar(console) as bar:
                shown = bar.add_task("trials", total=total)
                while course.feed():
                    bar.update(shown, completed=course.over)
                    job = course.next()
                    bar.update(shown, completed=course.over)
                    text = line(job, course.lost.get(job.folder))
                    bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        finally:
            found = conclude(sweep, course)
    return found


def _check(sweep: Sweep) -> _Identity:
    """Try every setting before the first trial, and before there is a folder."""
    job = sweep.job
    module = importlib.import_module(job.module)
    base = override(settings_of(module, job.variant, fast=job.fast), job.fixed)
    if not getattr(base, "validation", True):
        raise ValueError(
            "A sweep compares trials on the validation part, and validation is 0: set a share, "
            "such as --set validation=0.1."
        )
    said = {"recipe": job.module, "settings": plain(base)}
    if sweep.study is not None:
        return _Identity(said | {"searched": plain(list(sweep.found))})
    for one in (one for point in Grid(sweep.found).points for one in sweep.jobs(point)):
        override(base, one.settings[len(job.fixed) :])
    return _Identity(said)


def _search(sweep: Sweep) -> tuple[Search, int]:
    """Where points come from, and how many trials that makes."""
    seeds = len(sweep.jobs(()))
    if sweep.study is not None:
        return Study(sweep.found, sweep.study, _begun(sweep.folder)), sweep.study * seeds
    grid = Grid(sweep.found)
    return grid, len(grid.points) * seeds


@dataclass(frozen=True)
class _Identity:
    """What a sweep's folder belongs to."""

    sweep: dict[str, object]


def _begun(folder: Path) -> list[Point]:
    """Points that an earlier call began, in their order."""
    records = [read_record(path.parent) for path in folder.glob(f"*/{RECORD}")]
    there = sorted((one for one in records if one is not None), key=lambda one: one.started)
    return list(dict.fromkeys(one.point for one in there))


def candidate_of(sweep: Sweep, point: Point, number: int) -> Candidate | None:
    """What a point came to; None while a trial of it is not done."""
    records = [read_record(Path(job.folder)) for job in sweep.jobs(point)]
    runs = [one.values for one in records if one is not None and one.values is not None]
    return candidate(number, point, runs) if len(runs) == len(records) else None


def line(job: Job, lost: str | None) -> str:
    """What is said of a trial that is over."""
    record = read_record(Path(job.folder))
    name = Path(job.folder).name
    if record is None or record.values is None:
        return f"{name}: {_why(record, lost)}"
    values = record.values
    return (
        f"{name}: validation {100 * values['accuracy']:.1f} %, {values['macs']:,.0f} MACs, "
        f"{values['bytes']:,.0f} bytes, {record.seconds:.0f} s"
    )


def _why(record: Record | None, lost: str | None) -> str:
    """Why a trial has no values."""
    if lost is not None:
        return f"lost ({lost}); give the command again to go on"
    if record is not None and record.state == "failed":
        return f"failed ({record.error}); --again makes it again"
    return "not made yet"


def conclude(sweep: Sweep, course: _Course) -> Found:
    """Write `sweep.md` and `fronts.png` of what is done; gives that."""
    found: list[Candidate] = []
    missing: list[str] = []
    for number, point in enumerate(course.points, 1):
        one = candidate_of(sweep, point, number)
        if one is not None:
            found.append(one)
            continue
        jobs = [(Path(job.folder), course.lost.get(job.folder)) for job in sweep.jobs(point)]
        missing += [
            f"{folder.name}: {_why(record, lost)}"
            for folder, lost in jobs
            if (record := read_record(folder)) is None or record.values is None
        ]
    heading = f"# Sweep of {sweep.job.module.rpartition('.')[2]}: {sweep.folder.name}"
    about = (
        f"{len(found)} of {len(course.points)} points are done. Accuracy is on the validation "
        "part, mean ± standard error over the seeds; MACs by the year's rule; bytes of the files. "
        "Dominated: another is as good in all three and better in one."
    )
    parts = [heading, about, markdown(found).rstrip(), "\n".join(f"* {text}" for text in missing)]
    if found:
        plot(found, sweep.folder / "fronts.png", sweep.folder.name)
        parts.insert(2, "![accuracy against MACs and bytes](fronts.png)")
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_bytes(sweep.folder / "sweep.md", text.encode())
    return Found(tuple(found), tuple(missing))


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
