"""The command of the five folds: `python -m recipes.esc50 --folds 1 2 3 4 5`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recipes.folds.clips import Folds, read_folds
from recipes.folds.networks import Fold, folder_of, pieces
from recipes.folds.settings import STAGES, FoldSettings, short
from recipes.folds.summary import HEAD, rows


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for.

    Attributes:
        folds: Folds that are tested on, one after the other.
        seeds: Seeds of every fold.
        stages: Networks.
        out: Folder of all runs.
        quick: One epoch of a narrow network.
    """

    folds: Sequence[int]
    seeds: Sequence[int]
    stages: Sequence[str] = STAGES
    out: Path
    quick: bool = False

    def settings(self, seed: int) -> FoldSettings:
        """The settings of a seed."""
        whole = replace(FoldSettings(), seed=seed)
        return short(whole) if self.quick else whole

    def fold(self, number: int, seed: int, data: Folds, console: Console) -> Fold:
        """One fold, in a folder of its own."""
        out = self.out / "short" if self.quick else self.out
        return Fold(number, self.settings(seed), data, folder_of(out, number, seed), console)


def run(root: Path, cache: Path, wanted: Wanted, console: Console) -> None:
    """Make all networks that have no record in the folder yet, and print the table.

    Raises:
        FileNotFoundError: If a clip of any fold is missing.
        ValueError: If a file cannot be decoded, or a folder belongs to other settings.
    """
    data = read_folds(root, cache)
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in wanted.seeds:
        for stage, number in pieces(wanted.folds, wanted.stages):
            record = wanted.fold(number, seed, data, console).kept(stage)
            said = f"fold {number}, seed {seed}, {stage}: {record['accuracy']:.2f} %"
            console.print(f"{said}, dense {record['dense']:.2f} %", markup=False, highlight=False)
            found.setdefault(stage, []).append(record)
    shown = Table(*HEAD)
    for row in rows(found):
        shown.add_row(*row)
    console.print(shown)
