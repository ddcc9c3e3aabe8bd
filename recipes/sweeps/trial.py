"""One run of a sweep, in its own folder, whose state is on disk.

A trial is a call of a recipe with some settings changed. It can be made in any process of any
machine that sees the folder; made again, it goes on from the recipe's checkpoint. `trial.json`
holds its state, and is all that the sweep reads.
"""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.console import Console

from compressor.storage import read_json, sealed, write_bytes
from recipes.evaluate import recorded
from recipes.files.lock import BusyError, locked
from recipes.running.command import RunContext, usable
from recipes.running.conclusion import EVALUATION
from recipes.running.overrides import override
from recipes.running.run_folder import RunFolder
from recipes.sweeps.search import Point

RECORD = "trial.json"
PATIENCE = 1800.0
"""Longest wait, in seconds, for a process that prepares the same data or holds the folder."""
PAUSE = 1.0
"""Seconds between two tries."""


@dataclass(frozen=True)
class Job:
    """The task of a trial; plain data, so that it can be sent to another process.

    Attributes:
        module: The recipe's module: it has `Config`, `fast`, `main` and perhaps `VARIANTS`.
        variant: One of those; None for the paper's settings.
        fast: Take the settings of minutes.
        data: The data set's folder; None for generated scenes.
        device: Where to compute.
        fixed: Settings that all trials share, name=value.
        point: Settings that are varied.
        seed: Value of the setting `seed`; None for the recipe's own.
        folder: The trial's folder.
    """

    module: str
    variant: str | None = None
    fast: bool = False
    data: str | None = None
    device: str = "cpu"
    fixed: tuple[str, ...] = ()
    point: Point = ()
    seed: str | None = None
    folder: str = ""

    @property
    def varied(self) -> tuple[str, ...]:
        """Settings in which it differs from other trials."""
        return (*self.point, *([] if self.seed is None else [f"seed={self.seed}"]))

    @property
    def settings(self) -> tuple[str, ...]:
        return (*self.fixed, *self.varied)


@dataclass(frozen=True)
class Record:
    """The content of `trial.json`.

    Attributes:
        point: Settings that are varied.
        seed: As in the job.
        state: "running", "done" or "failed".
        attempts: Times it was begun.
        started: Time of the first beginning, in seconds since 1970.
        seconds: Time that the last attempt took.
        values: Figures of a trial that is done: accuracy and log loss on the validation part,
            params, nonzero, macs by the year's rule, bytes of the files.
        error: Reason of one that failed.
    """

    point: Point
    seed: str | None
    state: str
    attempts: int = 0
    started: float = 0.0
    seconds: float = 0.0
    values: Mapping[str, float] | None = None
    error: str | None = None


def settings_of(module: ModuleType, variant: str | None, *, fast: bool) -> Any:
    """Settings that a recipe starts from; ValueError for a variant that it has not."""
    variants = getattr(module, "VARIANTS", {}) | getattr(module, "ABLATIONS", {})
    if variant is not None and variant not in variants:
        raise ValueError(
            f"{module.__name__} has no variant {variant!r}; it has {', '.join(variants) or 'none'}."
        )
    config = module.Config() if variant is None else variants[variant](module.Config())
    return module.fast(config) if fast else config


def read_record(folder: Path) -> Record | None:
    """Record of a trial; None if it was never begun, or the record is damaged."""
    try:
        said = read_json(folder / RECORD)
        found = Record(**said | {"point": tuple(said["point"])})
        numbers = (found.attempts, found.started, found.seconds, *(found.values or {}).values())
        return found if all(isinstance(one, int | float) for one in numbers) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # it is made again, and goes on from the checkpoint


def make(job: Job) -> None:
    """Run a trial to its end; one that fails leaves the reason in its record."""
    folder = Path(job.folder)
    torch.set_num_threads(1)
    with ExitStack() as held:
        lock = folder / ".lock"
        # A worker whose sweep was killed may be about to let go of the folder.
        _patiently(lambda: held.enter_context(locked(lock, f"makes the trial {folder}")))
        begun = time.time()
        before = read_record(folder) or Record(job.point, job.seed, "running", started=begun)
        record = Record(job.point, job.seed, "running", before.attempts + 1, before.started)
        _write(folder, record)
        try:
            with (folder / "log.txt").open("a", encoding="utf-8") as log:
                values = _values(job, Console(file=log, width=100))
            record = replace(record, state="done", values=values)
        except Exception as error:  # noqa: BLE001 - one bad trial must not stop the others
            write_bytes(folder / "error.txt", traceback.format_exc().encode())
            record = replace(record, state="failed", error=f"{type(error).__name__}: {error}")
        _write(folder, replace(record, seconds=time.time() - begun))


def _write(folder: Path, record: Record) -> None:
    write_bytes(folder / RECORD, sealed(asdict(record)))


def _values(job: Job, console: Console) -> dict[str, float]:
    module = importlib.import_module(job.module)
    config = override(settings_of(module, job.variant, fast=job.fast), job.settings)
    folder = RunFolder(Path(job.folder))
    data = None if job.data is None else Path(job.data)
    context = RunContext(config, data, folder, usable(job.device), None, console, job.fast)
    _patiently(lambda: module.main(context))
    return read_values(folder.path)


def read_values(folder: Path) -> dict[str, float]:
    """Figures of a finished run that a sweep compares.

    Raises:
        FileNotFoundError: If the run is not over.
        ValueError: If it has no validation part, or its evaluation is damaged.
    """
    said = recorded(folder)
    if said["validation"] is None:
        raise ValueError(
            f"{folder} has no validation part, and nothing is chosen on the test list: set "
            "validation, such as validation=0.1."
        )
    try:
        return {
            "accuracy": float(said["validation"]["macro"]["accuracy"]),
            "log_loss": float(said["validation"]["overall"]["log_loss"]),
            "bytes": float(sum(said["files"])),
            **{name: float(said["cost"][name]) for name in ("params", "nonzero", "macs")},
        }
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{folder / EVALUATION} is damaged ({error!r})") from error


def _patiently(work: Callable[[], object]) -> None:
    """Do work that another process may be at too, such as generating the same scenes."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            work()
        except BusyError:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE)
        else:
            return
