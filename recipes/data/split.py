"""A validation part that shares nothing with training, made from the training list alone.

TAU publishes a training and a test list and none to choose settings on. The papers that these
recipes follow, the official baselines of 2024 and 2025 and most public code choose epochs and
settings on the test list, which makes their test figures too good. We do not: everything is chosen
on the part made here, and the test list is only reported.

Clips of one place share rooms, streets and passers-by, so places are never divided between the
parts, as the data set never divides them between training and test.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from recipes.data.listing import Listing, first_of

FINEST = 20
"""Folds that places are dealt into besides 1 / share: a few of so many make up most shares."""


def by_location(training: Listing, share: float = 0.2, *, seed: int = 0) -> tuple[Listing, Listing]:
    """Divide a training list of TAU into training and validation, place by place.

    Places are dealt into 1 / share, 10 and 20 folds so that each has like numbers of every scene
    and device (`StratifiedGroupKFold` on scene and device, grouped by place). Of the runs of
    neighbouring folds that come nearest to `share`, the one whose size and whose shares of scenes
    and devices are nearest to those asked for and to the whole list's is for validation. Classes
    are balanced as in the list: TAU's are nearly equal.

    Args:
        training: A training list, with the columns `scene`, `device` and `location`.
        share: About how much of the clips goes to validation, at most a half.
        seed: Equal seeds give equal parts.

    Returns:
        (training, validation), both in the list's order.

    Raises:
        ValueError: If the list is empty or has no locations, or too few of them to have every scene
            and device in both parts or to come within half of the share.
    """
    if not len(training):
        raise ValueError(f"There are no clips to divide: the list of {training.root} is empty.")
    absent = [name for name in ("scene", "device", "location") if name not in training.table]
    if absent or not 0 < share <= 0.5:
        raise ValueError(
            f"A validation part of {share:g} by location was asked of a list with the columns "
            f"{', '.join(training.table.columns)}: share must lie in (0, 0.5], and scene, device "
            "and location must be there. Of ESC-50 hold out a fold, with read_esc50(folds=...)."
        )
    table = training.table
    parts = round(1 / share)
    places = table.groupby("scene")["location"].nunique()
    if table["location"].nunique() < parts or places.min() < 2:
        raise ValueError(
            f"The list has {table['location'].nunique()} locations, and {places.min()} of scene "
            f"{places.idxmin()}: a validation part of {share:g} needs {parts} in all and 2 of "
            "every scene, as a location is never divided. Take a longer list or a larger share."
        )
    candidates = _candidates(table, share, seed)
    best = min(
        candidates,
        key=lambda mask: (len(_gaps(table, mask)), _distance(table, mask, share)),
        default=np.zeros(len(table), np.bool_),
    )
    gaps = _gaps(table, best)
    if gaps:
        raise ValueError(
            f"The list of {len(table)} clips at {table['location'].nunique()} locations cannot be "
            f"divided: there is no {first_of(gaps)}. Take a longer list, a larger share, or "
            "another seed."
        )
    if abs(best.mean() - share) > share / 2:
        raise ValueError(
            f"A validation part of {share:g} was asked for, and the nearest that whole locations "
            f"give has {best.mean():.3f} of the clips: the {table['location'].nunique()} locations "
            f"have {table['location'].value_counts().min()} to "
            f"{table['location'].value_counts().max()} of {len(table)} clips. Ask for a share near "
            "that, or take a longer list."
        )
    return training.select(~best), training.select(best)


def _candidates(table: pd.DataFrame, share: float, seed: int) -> list[np.ndarray]:
    """Masks (clips,) of parts near the share, no location half in one of them."""
    strata = table["scene"] + " " + table["device"]
    # No fold may lack a place, and some stratum must have a clip for every fold.
    most = min(table["location"].nunique(), int(strata.value_counts().max()))
    numbers = {min(folds, most) for folds in (round(1 / share), FINEST // 2, FINEST)}
    masks = []
    for number in sorted(numbers - {1}):
        fold = _folds(table, strata, number, seed)
        clips = np.bincount(fold, minlength=number)
        for first in range(number):
            order = (first + np.arange(number - 1)) % number
            off = np.abs(np.cumsum(clips[order]) - share * len(table))
            masks.append(np.isin(fold, order[: int(np.argmin(off)) + 1]))
    return masks


def _folds(table: pd.DataFrame, strata: pd.Series, number: int, seed: int) -> np.ndarray:
    """int64 (clips,): the fold that each clip is dealt to, equal for clips of one location."""
    dealt = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    fold = np.zeros(len(table), np.int64)
    with warnings.catch_warnings():
        # A scene that a device recorded less often than there are folds: `_gaps` judges.
        warnings.filterwarnings("ignore", message="The least populated class in y")
        for index, (_, chosen) in enumerate(dealt.split(table, strata, table["location"])):
            fold[chosen] = index
    return fold


def _distance(table: pd.DataFrame, mask: np.ndarray, share: float) -> float:
    """Sum of differences between shares of scenes and of devices in a part and in the list.

    And how far the part's size is from the share asked for, as a part of that.
    """
    distance = abs(mask.mean() / share - 1)
    for column in ("scene", "device"):
        whole = table[column].value_counts(normalize=True)
        part = table[column][mask].value_counts(normalize=True)
        distance += float((part.reindex(whole.index, fill_value=0) - whole).abs().sum())
    return distance


def _gaps(table: pd.DataFrame, mask: np.ndarray) -> list[str]:
    """Scenes and devices that a part lacks: what is not learnt or not seen cannot be judged."""
    return [
        f"{column} {value} in {name}"
        for column in ("scene", "device")
        for name, part in (("training", table[~mask]), ("validation", table[mask]))
        for value in sorted(set(table[column]) - set(part[column]))
    ]
