"""Results of long runs, a line of JSON each in one file, so that a killed call goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.progress import track

from benchmarks.common.sound import RUNS
from compressor.storage import write_bytes

Key = Mapping[str, str | int]
Record = dict[str, Any]

SEEDS = (0, 1, 2)
"""Seeds of the runs, where nobody asks for others, and of the tables."""


@dataclass(frozen=True)
class Run:
    """One run: what tells its record from all others in the file, and what makes the rest of it."""

    key: Key
    make: Callable[[], Record]

    @property
    def name(self) -> str:
        """The values of the key, in words."""
        return " ".join(f"{k}{v}" if k == "seed" else str(v) for k, v in self.key.items())


def every(
    make: Callable[..., Record], seeds: Iterable[int], **choices: Iterable[str | int]
) -> Iterator[Run]:
    """Runs of all combinations, seed by seed; `make` is given each as arguments of these names."""
    for seed, *words in product(seeds, *choices.values()):
        key = {**dict(zip(choices, words, strict=True)), "seed": seed}
        yield Run(key, partial(make, **key))


@dataclass(frozen=True)
class Records:
    """The records of a benchmark: the entries of the key, then those of the result."""

    found: tuple[Record, ...] = ()

    def of(self, **key: str | int) -> list[Record]:
        """Records with these entries, in the order of the file: by key."""
        return [record for record in self.found if key.items() <= record.items()]

    def values(self, field: str, **key: str | int) -> np.ndarray:
        """One number of every record with these entries."""
        return np.array([record[field] for record in self.of(**key)])


def read(path: Path, seeds: Collection[int] = SEEDS) -> Records:
    """The records of a file of JSON lines that have one of these seeds; none without a file."""
    return Records(tuple(record for record in _all(path) if record["seed"] in seeds))


def _all(path: Path) -> list[Record]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def add(path: Path, key: Key, result: Record) -> None:
    """Put one record into a file, in place of an older one; all of it or nothing.

    Processes that make runs of one file at the same time wait for each other here.
    """
    RUNS.mkdir(exist_ok=True)
    with FileLock(RUNS / f"{path.stem}.lock"):
        others = [r for r in _all(path) if not key.items() <= r.items()]
        lines = sorted(json.dumps(record) for record in (*others, {**key, **result}))
        write_bytes(path, "".join(f"{line}\n" for line in lines).encode())


def make(path: Path, runs: Iterable[Run], hidden: Collection[str] = ()) -> None:
    """Make every run that has no record yet; keep each, and print it but for what is `hidden`."""
    known = Records(tuple(_all(path)))
    left = [run for run in runs if not known.of(**run.key)]
    console = Console()
    for run in track(left, "Running", console=console, disable=not console.is_terminal):
        result = run.make()
        add(path, run.key, result)
        shown = {name: value for name, value in result.items() if name not in hidden}
        print(run.name, shown, flush=True)
