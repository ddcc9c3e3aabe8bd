"""The run of a sweep: which trials are left, and the table and picture of all.

All state that counts is on disk, in the trials' folders: a sweep that was killed at any moment goes
on from there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn

from compressor.reports.sweeps.plan import folder_name
from compressor.storage import write_bytes
from recipes.files.lock import locked
from recipes.files.progress import progress_bar
from recipes.running.overrides import override
from recipes.running.run_folder import RunFolder, plain
from recipes.sweeps.pareto import Candidate, candidate, markdown, plot
from recipes.sweeps.search import Dimension, Grid, Point, Search, Study, seeds_of
from recipes.sweeps.trial import RECORD, Job, read_record, settings_of
from recipes.sweeps.workers import Workers

PAPER = "paper"
"""The folder of a trial that varies nothing."""


@dataclass(frozen=True)
class Sweep:
    """Settings of a sweep.

    Attributes:
        folder: The sweep's folder.
        job: The part that all trials share; point, seed and folder are each trial's own.
        found: The settings that are varied.
        study: Points that Optuna proposes; None for all combinations.
        again: Make trials that failed before again.
    """

    folder: Path
    job: Job
    found: Sequence[Dimension]
    study: int | None = None
    again: bool = False

    def jobs(self, point: Point) -> list[Job]:
        """The trials of a point, one for each seed."""
        seeds = seeds_of(self.found) or (self.job.seed,)
        jobs = [replace(self.job, point=point, seed=seed) for seed in seeds]
        return [
            replace(job, folder=str(self.folder / folder_name(job.varied, PAPER))) for job in jobs
        ]


@dataclass(frozen=True)
class Found:
    """Outcome of a sweep.

    Attributes:
        candidates: Points of which every trial is done.
        missing: Trials without figures, and why, a line each.
    """

    candidates: tuple[Candidate, ...]
    missing: tuple[str, ...]


def run(sweep: Sweep, workers: Workers, console: Console) -> Found:
    """Make all trials that are not finished, and write table and picture.

    Raises:
        OSError: If another process makes this sweep.
        ValueError: If the folder is another sweep's, or a setting is refused.
    """
    identity = _check(sweep)
    with locked(sweep.folder / ".lock", f"makes the sweep {sweep.folder}"):
        RunFolder(sweep.folder).begin(identity, str(sweep.job.data or "generated scenes"))
        search, total = _search(sweep)
        bar = progress_bar(console, MofNCompleteColumn())
        runner = _Runner(sweep, search, partial(bar.advance, bar.add_task("trials", total=total)))
        try:
            with bar:
                for job, lost in workers(runner.left()):
                    runner.end(job, lost)
                    text = line(job, lost)
                    bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        finally:
            found = _conclude(sweep, runner.points, runner.ended)
    return found


class _Runner:
    """A sweep under way.

    `advance` takes the number of trials that are over now, of an earlier call or of this.

    Attributes:
        points: Points that were begun.
        ended: Folders of this call's trials, and what stopped those that left no record.
    """

    def __init__(self, sweep: Sweep, search: Search, advance: Callable[[int], None]) -> None:
        self.points: list[Point] = []
        self.ended: dict[str, str | None] = {}
        self._sweep, self._search, self._advance = sweep, search, advance
        self._open: dict[Point, int] = {}  # trials to come, of points that are not over

    def left(self) -> Iterator[Job]:
        """The trials that are not over, each when it is asked for; a study proposes as late."""
        while (point := self._search.ask()) is not None:
            if point in self._open:  # a study may propose one twice
                continue
            if point not in self.points:
                self.points.append(point)
            jobs = self._sweep.jobs(point)
            left = [job for job in jobs if not self._is_over(job)]
            self._advance(len(jobs) - len(left))
            self._open[point] = len(left)
            self._close(point)
            yield from left

    def end(self, job: Job, lost: str | None) -> None:
        """Count a trial that is over, and tell the search when its point is."""
        self._advance(1)
        self.ended[job.folder] = lost
        self._open[job.point] -= 1
        self._close(job.point)

    def _close(self, point: Point) -> None:
        if not self._open[point]:
            del self._open[point]
            found = _candidate(self._sweep.jobs(point), 1)
            self._search.tell(point, found and (found.accuracy, found.macs, found.bytes))

    def _is_over(self, job: Job) -> bool:
        record = read_record(Path(job.folder))
        over = ("done",) if self._sweep.again else ("done", "failed")
        return job.folder in self.ended or (record is not None and record.state in over)


def _check(sweep: Sweep) -> dict[str, object]:
    """Try every setting before the first trial, and before there is a folder.

    Returns:
        The identity of the sweep, to which its folder belongs.
    """
    job = sweep.job
    module = importlib.import_module(job.module)
    base = override(settings_of(module, job.variant, fast=job.fast), job.fixed)
    if not getattr(base, "validation", True):
        raise ValueError(
            "A sweep compares trials on the validation part, and validation is 0: set a share, "
            "such as --set validation=0.1."
        )
    identity = {"recipe": job.module, "settings": plain(base)}
    if sweep.study is not None:
        return {"sweep": identity | {"searched": plain(list(sweep.found))}}
    for one in (one for point in Grid(sweep.found).points for one in sweep.jobs(point)):
        override(base, one.varied)
    return {"sweep": identity}


def _search(sweep: Sweep) -> tuple[Search, int]:
    """The source of the points, and the number of trials that makes."""
    seeds = len(sweep.jobs(()))
    if sweep.study is not None:
        return Study(sweep.found, sweep.study, _begun(sweep.folder)), sweep.study * seeds
    grid = Grid(sweep.found)
    return grid, len(grid.points) * seeds


def _begun(folder: Path) -> list[Point]:
    """Points that an earlier call began, in their order."""
    records = [read_record(path.parent) for path in folder.glob(f"*/{RECORD}")]
    there = sorted((one for one in records if one is not None), key=lambda one: one.started)
    return list(dict.fromkeys(one.point for one in there))


def _values(job: Job) -> Mapping[str, float] | None:
    """Figures of a trial; None while it is not done."""
    record = read_record(Path(job.folder))
    return record and record.values


def _candidate(jobs: Sequence[Job], number: int) -> Candidate | None:
    """A point and its outcome; None while a trial of it is not done."""
    runs = [values for job in jobs if (values := _values(job)) is not None]
    return candidate(number, jobs[0].point, runs) if len(runs) == len(jobs) else None


def line(job: Job, lost: str | None) -> str:
    """A line on a trial: its figures, or why it has none."""
    record = read_record(Path(job.folder))
    name = Path(job.folder).name
    if record is not None and record.values is not None:
        return (
            f"{name}: validation {100 * record.values['accuracy']:.1f} %, "
            f"{record.values['macs']:,.0f} MACs, {record.values['bytes']:,.0f} bytes, "
            f"{record.seconds:.0f} s"
        )
    if lost is not None:
        return f"{name}: lost ({lost}); give the command again to go on"
    if record is not None and record.state == "failed":
        return f"{name}: failed ({record.error}); --again makes it again"
    return f"{name}: not made yet"


def _conclude(sweep: Sweep, points: Sequence[Point], ended: Mapping[str, str | None]) -> Found:
    found: list[Candidate] = []
    missing: list[str] = []
    for number, point in enumerate(points, 1):
        jobs = sweep.jobs(point)
        one = _candidate(jobs, number)
        if one is not None:
            found.append(one)
        else:
            missing += [line(job, ended.get(job.folder)) for job in jobs if _values(job) is None]
    heading = f"# Sweep of {sweep.job.module.rpartition('.')[2]}: {sweep.folder.name}"
    about = (
        f"{len(found)} of {len(points)} points are done. Accuracy is on the validation "
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
