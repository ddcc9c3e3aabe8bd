"""What DCASE 2024 and 2025 Task 1 train on: 5 to 100 % of the list; the score of several networks.

In 2024 a system is trained on 5, 10, 25, 50 and 100 % of the training list, and its score is the
mean of the five; in 2025 25 % alone are left. The lists are split5.csv to split50.csv of the
official baseline of 2024.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressor.storage import write_bytes
from recipes.data.official_lists import training_list_path
from recipes.running.command import RunContext
from recipes.running.conclusion import Outcome, submit
from recipes.running.scene_data import Part
from recipes.submission.metadata import Submission

WHOLE = 100
SPLITS = {2022: (100,), 2023: (100,), 2024: (5, 10, 25, 50, 100), 2025: (25,)}
"""Percentages of the training list, by year."""
BASELINES = {
    2022: {100: 42.9},
    2023: {},
    2024: {5: 42.40, 10: 45.29, 25: 50.29, 50: 53.19, 100: 56.99},
    2025: {25: 50.72},
}
"""Accuracy of the official baselines, in percent, by year and percentage."""


def check_splits(splits: Sequence[int]) -> None:
    """Refuse (ValueError) percentages without a list."""
    strange = [str(percent) for percent in splits if percent not in SPLITS[2024]]
    if strange or not splits or len(set(splits)) < len(splits):
        raise ValueError(
            f"splits={','.join(strange) or ','.join(map(str, splits))}: there are lists of 5, 10, "
            "25, 50 and 100 percent, each to be named once"
        )


def check_energy(energy: Sequence[float]) -> None:
    """Refuse (ValueError) energy that is not three numbers."""
    if len(energy) not in (0, 3):
        raise ValueError(
            f"energy={energy}: training, inference and the baseline's inference, three "
            "numbers in kWh, such as energy=0.5,0.02,0.07"
        )


def subset(part: Part, percent: int) -> Part:
    """Some percent of the clips of every class, in whole recordings of ten seconds.

    As in the official lists, those of a smaller percentage are among those of a larger one. Which
    they are depends on their names alone.
    """
    table = part.listing.table
    # scene-city-location-segment-subsegment-device.wav: the seconds of what one device recorded
    recording = table["file"].str.replace(r"-\d+(-[^-]+)$", r"\1", regex=True)
    order = recording.map(_drawn)
    chosen = np.zeros(len(table), bool)
    for label in range(len(part.listing.classes)):
        of_class = np.flatnonzero(table["label"] == label)
        most, taken = percent / WHOLE * len(of_class), 0
        for name in sorted(order.iloc[of_class].unique()):
            if taken < most:
                here = of_class[order.iloc[of_class] == name]
                chosen[here], taken = True, taken + len(here)
    places = np.flatnonzero(chosen)
    return Part(part.x[places], part.y[places], part.listing.select(chosen))


def _drawn(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def absent_lists(root: Path, lists: Path, splits: Sequence[int]) -> list[str]:
    """Lists of percentages that are neither in `lists` nor in the data set's `evaluation_setup`."""
    setup = root / "evaluation_setup"
    names = [f"split{percent}.csv" for percent in splits if percent != WHOLE]
    return [name for name in names if not training_list_path(setup, lists / name).is_file()]


def need_lists(root: Path, lists: str, splits: Sequence[int]) -> None:
    """Refuse percentages whose list is not there, before the first of them is trained on."""
    absent = absent_lists(root, Path(lists), splits)
    if absent:
        raise FileNotFoundError(
            f"{', '.join(absent)}: not in lists={lists or 'none'} and not in "
            f"{root / 'evaluation_setup'}. Name the folder of the official lists, lists=DIR, or "
            f"take splits={WHOLE}"
        )


@dataclass(frozen=True)
class Trained:
    """Outcome at a percentage of the training list, and what a submission states of it."""

    percent: int
    outcome: Outcome
    facts: Submission


def score(year: int, found: Sequence[Trained]) -> str:
    """All percentages as a table, and the year's score."""
    lines = ["| training list | official baseline | ours | log loss |", "|---|---|---|---|"]
    for one in found:
        baseline, final = BASELINES[year].get(one.percent, "-"), one.outcome.final
        lines.append(
            f"| {one.percent} % | {baseline} | {100 * final.accuracy:.2f} | {final.log_loss:.3f} |"
        )
    mean = np.mean([100 * one.outcome.final.accuracy for one in found])
    printed = [BASELINES[year].get(one.percent, np.nan) for one in found]
    lines.append(f"| mean: the score of 2024 | {np.mean(printed):.2f} | {mean:.2f} | |")
    return "\n".join(lines) + "\n"


def conclude(context: RunContext[Any], year: int, found: Sequence[Trained], missing: str) -> None:
    """Write the table of several networks, and one submission of all where nothing is missing."""
    path, text = context.folder.path, score(year, found)
    if missing:
        text += f"\nNo submission: {missing}.\n"
    else:
        largest = max((one.facts for one in found), key=lambda facts: facts.cost.bytes)
        package = submit(path, largest, [one.outcome for one in found])
        text += f"\nSubmission, its authors placeholders: `{package.relative_to(path)}`.\n"
    write_bytes(path / "report.md", text.encode())
    context.console.print(text, markup=False, highlight=False)
