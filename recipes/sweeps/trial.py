"""One run of a sweep, in its own folder, which says on disk how far it is.

A trial is a call of a recipe's road with some settings changed. It can be made in any process of
any machine that sees the folder; made again, it goes on from the road's checkpoint. `trial.json`
holds its state, and is all that the sweep reads.
"""

from __future__ import annotations

import importlib
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
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
"""Seconds to wait for another process that prepares the same data or holds the folder."""
PAUSE = 1.0


@dataclass(frozen=True)
class Job:
    """What a trial is to do; plain data, so that it can be sent to another process.

    Attributes:
        module: Of the recipe: it has `Config`, `fast`, `main` and perhaps `VARIANTS`.
        variant: One of those; None for the paper's settings.
        fast: Whether to take the settings of minutes.
        fixed: Settings that all trials share, name=value.
        point: Settings that are varied.
        seed: Value of the setting `seed`; None for the recipe's own.
        data: The data set's folder; None for generated scenes.
        folder: Of the trial.
        device: Where to compute.
    """

    module: str
    variant: str | None
    fast: bool
    fixed: tuple[str, ...]
    point: Point
    seed: str | None
    data: str | None
    folder: str
    device: str

    @property
    def settings(self) -> tuple[str, ...]:
        """Everything that is changed."""
        return (*self.fixed, *self.point, *([] if self.seed is None else [f"seed={self.seed}"]))


@dataclass(frozen=True)
class Record:
    """What `trial.json` says.

    Attributes:
        point: Settings that are varied.
        seed: As in the job.
        state: "running", "done" or "failed".
        attempts: How often it was begun.
        started: When it was begun first, in seconds since 1970.
        seconds: What the attempt that ended it took.
        values: Of a trial that is done: accuracy and log loss on the validation part, params,
            nonzero, macs by the year's rule, bytes of the files.
        error: Of one that failed.
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
    """The settings that a recipe starts from.

    Raises:
        ValueError: If it has no such variant.
    """
    variants = getattr(module, "VARIANTS", {}) | getattr(module, "ABLATIONS", {})
    if variant is not None and variant not in variants:
        raise ValueError(
            f"{module.__name__} has no variant {variant!r}; it has {', '.join(variants) or 'none'}."
        )
    config = module.Config() if variant is None else variants[variant](module.Config())
    return module.fast(config) if fast else config


def read_record(folder: Path) -> Record | None:
    """What is known of a trial; None if it was never begun, or its record is damaged."""
    try:
        said = read_json(folder / RECORD)
        found = Record(**said | {"point": tuple(said["point"])})
        numbers = (found.attempts, found.started, found.seconds, *(found.values or {}).values())
        return found if all(isinstance(one, int | float) for one in numbers) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # it is made again, and goes on from the checkpoint


def make(job: Job) -> None:
    """Run a trial to its end; one that fails says why in its record.

    Raises:
        BusyError: If another process has held its folder for too long.
    """
    folder = Path(job.folder)
    torch.set_num_threads(1)
    with _when_free(folder):
        before = read_record(folder)
        begun, first = time.time(), time.time() if before is None else before.started
        attempts = 1 + (0 if before is None else before.attempts)

        def record(state: str, **more: Any) -> None:
            said = Record(job.point, job.seed, state, attempts, first, time.time() - begun, **more)
            write_bytes(folder / RECORD, sealed(asdict(said)))

        record("running")
        try:
            with (folder / "log.txt").open("a", encoding="utf-8") as log:
                values = _values(job, Console(file=log, width=100))
        except Exception as error:  # noqa: BLE001 - one bad trial must not stop the others
            write_bytes(folder / "error.txt", traceback.format_exc().encode())
            record("failed", error=f"{type(error).__name__}: {error}")
            return
        record("done", values=values)


def _values(job: Job, console: Console) -> dict[str, float]:
    """Take the road, and read what came of it."""
    module = importlib.import_module(job.module)
    config = override(settings_of(module, job.variant, fast=job.fast), job.settings)
    folder = RunFolder(Path(job.folder))
    data = None if job.data is None else Path(job.data)
    context = RunContext(config, data, folder, usable(job.device), None, console, job.fast)
    _patiently(lambda: module.main(context))
    return read_values(folder.path)


def read_values(folder: Path) -> dict[str, float]:
    """The figures that a sweep compares, of a finished run.

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
        chosen = said["validation"]
        values = {
            "accuracy": float(chosen["macro"]["accuracy"]),
            "log_loss": float(chosen["overall"]["log_loss"]),
            "bytes": float(sum(said["files"])),
        }
        return values | {name: float(said["cost"][name]) for name in ("params", "nonzero", "macs")}
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"{folder / EVALUATION} is damaged ({error!r})") from error


@contextmanager
def _when_free(folder: Path) -> Iterator[None]:
    """Hold a trial's folder: a worker whose sweep was killed may be about to let go of it."""
    with ExitStack() as held:
        lock = folder / ".lock"
        _patiently(lambda: held.enter_context(locked(lock, f"makes the trial {folder}")))
        yield


def _patiently(work: Callable[[], object]) -> None:
    """Do something that another process may be at, such as generating the same scenes."""
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
