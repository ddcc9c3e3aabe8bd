"""The run of a sweep: the rows that are not there yet, made and kept one by one."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from compressor.errors import ResumeError
from compressor.reports.sweeps import records
from compressor.reports.sweeps.failures import DONE, FAILED
from compressor.reports.sweeps.plan import Grid, Point
from compressor.reports.sweeps.rows import Making, Row
from compressor.reports.sweeps.sweep import Sweep
from compressor.reports.sweeps.workers import LOCAL, OnRay, in_turn
from compressor.run.claim import claimed
from compressor.run.progress import Bar
from compressor.run.telling import printed, span

LOGGER = logging.getLogger("compressor.sweep")

Made = Iterator[tuple[Point, Callable[[], Row]]]
"""Points that are over, and what gives their rows."""


def swept(
    making: Making,
    identity: Mapping[str, Any],
    *,
    ray: str | None,
    cpus: float,
    gpus: float,
    progress: bool | None,
) -> Sweep:
    """Make all rows that are missing; arguments as of `compressor.sweep`, checked.

    Raises:
        ResumeError: If the folder belongs to another sweep, or to one that is going on.
        ImportError: If a cluster was asked for, and Ray is not installed.
        OSError: If it does not answer.
    """
    folder = making.folder
    with (
        nullcontext() if folder is None else _owned(folder),
        Bar(enabled=progress is not False) as bar,
        printed(shown=progress is not False and not bar.shown, logger=LOGGER),
    ):
        if folder is not None:
            records.begin(folder, identity)
        known = {} if folder is None else _known(folder, making.grid)
        left = [point for point in making.grid.points if point not in known]
        with _workers(making, left, ray, cpus, gpus) as (made, capacity):
            told = _Told(len(known), len(left), capacity, bar)
            for point, row_of in made:
                row = {**_row(point, row_of), **making.grid.asked(point)}
                if folder is not None:
                    records.add(folder, row)
                    making.forget(point)
                known[point] = row
                told.row(point, row)
    return Sweep(tuple(known[point] for point in making.grid.points))


def _row(point: Point, row_of: Callable[[], Row]) -> Row:
    """The row of a point; an error that ends the sweep says where it did."""
    try:
        return row_of()
    except Exception as error:
        error.add_note(f"compressor.sweep ended at the row of {point}")
        raise


def _known(folder: Path, grid: Grid) -> dict[Point, Row]:
    """The rows of a folder that are among those asked for, but for those of an error in some code.

    Raises:
        ResumeError: If one stands for something else than what has its name now.
    """
    wanted, found = set(grid.points), dict[Point, Row]()
    for row in records.read(folder):
        point = Point(row["budget"], row["method"], row["seed"])
        if point not in wanted or row.get("state") == FAILED:
            continue
        for name, now in grid.asked(point).items():
            if row.get(name) != now:
                what = f"method {point.method!r}" if name == "how" else f"budget {point.budget!r}"
                raise ResumeError(
                    f"{folder} holds rows of another {what}, {row.get(name)} instead of {now}: "
                    "give this one another name, or choose another folder"
                )
        found[point] = row
    return found


@contextmanager
def _owned(folder: Path) -> Generator[None]:
    """Keep a second sweep from a folder."""
    held = claimed(folder)
    try:
        held.__enter__()
    except ResumeError as error:
        raise ResumeError(
            f"folder={str(folder)!r} belongs to a sweep that is going on: wait until it is over or "
            "stop it, and make the same call again; or pass another folder"
        ) from error
    try:
        yield
    finally:
        held.__exit__(None, None, None)


@contextmanager
def _workers(
    making: Making, left: list[Point], ray: str | None, cpus: float, gpus: float
) -> Generator[tuple[Made, int]]:
    """Those that make the rows, and how many at once; says who they are."""
    rows = f"{len(left)} row{'s' * (len(left) != 1)} to make"
    workers = None
    if not left:
        yield iter(()), 1
        return
    if ray is not None:
        try:
            environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            workers = OnRay(making, ray, cpus, gpus, environment)
        except ImportError as error:
            if ray != LOCAL:
                raise
            LOGGER.warning("%s. So %s, one after the other in this process.", error, rows)
    if workers is None:
        if ray is None:
            LOGGER.info("%s, one after the other; several at once with ray='local'", rows)
        yield in_turn(making, iter(left)), 1
        return
    LOGGER.info("%s, up to %d at once on Ray", rows, workers.capacity)
    try:
        yield workers(iter(left)), workers.capacity
    finally:
        workers.close()


class _Told:
    """One line a row, with the time that is left, or a bar."""

    def __init__(self, known: int, left: int, capacity: int, bar: Bar) -> None:
        self._done, self._left, self._total = known, left, known + left
        self._capacity, self._bar, self._made = capacity, bar, 0
        self._began = time.perf_counter()
        bar.begin("Sweep", self._total)
        for _ in range(known):
            bar.advance()
        if not left:
            LOGGER.info("All %d rows are there", known)

    def row(self, point: Point, row: Mapping[str, Any]) -> None:
        self._done, self._made = self._done + 1, self._made + 1
        self._bar.advance(str(point))
        each = (time.perf_counter() - self._began) / self._made
        to_come = each * (self._left - self._made)
        rest = f", about {span(to_come)} left" if to_come else ""
        took = f"{span(row['seconds'])}{rest}"
        LOGGER.info("[%d/%d] %s: %s, %s", self._done, self._total, point, figures(row), took)


def figures(row: Mapping[str, Any]) -> str:
    """What became of a row, in words."""
    if row["state"] != DONE:
        return f"{row['state']}, {row['why']}"
    value = "" if row["value"] is None else f"{row['value']:.4g}, "
    return f"{value}{row['params']:,} parameters, {row['macs']:,} MACs"
