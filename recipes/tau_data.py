"""TAU Urban Acoustic Scenes (2020 Mobile, 2020 3Class, 2022 Mobile) in their official layout.

The tables are called csv but separated by tabs, and some copies have Windows line ends. Names are
`scene-city-location-segment-device` (2020) or
`scene-city-location-segment-subsegment-device` (2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import soundfile

from recipes.audio import decode_all

TABLES = {"train": "fold1_train.csv", "test": "fold1_evaluate.csv"}
"""The list of each part that has labels; `fold1_test.csv` names the same clips without them."""


@dataclass(frozen=True)
class TauClips:
    """Decoded clips; entry i of every field belongs to clip i.

    Attributes:
        audio: int16 (clips, samples), mono, 16 kHz; divide by 32768 for [-1, 1).
        labels: int64 (clips,), positions in `classes`.
        devices: Recording device of each clip, "a", "b", "c", "s1" to "s6".
        locations: Place of each clip, "city-location"; folds never share one.
        classes: Scene labels of the training list, in alphabetical order.
        files: Names as in the list.
    """

    audio: np.ndarray
    labels: np.ndarray
    devices: tuple[str, ...]
    locations: tuple[str, ...]
    classes: tuple[str, ...]
    files: tuple[str, ...]


def read_tau(root: Path, part: Literal["train", "test"], workers: int = 4) -> TauClips:
    """Read one part of fold 1, in the order of its list.

    Args:
        root: Folder with `audio/` and `evaluation_setup/`.
        part: "train", or "test".
        workers: Threads that decode.

    Raises:
        FileNotFoundError: If a list or a clip is missing.
        ValueError: If a list lacks a column, a name or a label is not of this data set, or a clip
            cannot be decoded or differs in length from the first.
    """
    root = Path(root)
    setup = root / "evaluation_setup"
    classes = tuple(sorted(set(_read_list(setup / TABLES["train"])["scene_label"])))
    table = _read_list(setup / TABLES[part])
    unknown = sorted(set(table["scene_label"]) - set(classes))
    if unknown:
        msg = (
            f"{setup / TABLES[part]} has scenes that the training list lacks: {', '.join(unknown)}."
            f" The training list has {', '.join(classes)}."
        )
        raise ValueError(msg)
    files = tuple(table["filename"])
    origins = [_origin(name) for name in files]
    paths = _find(root, files)
    return TauClips(
        audio=decode_all(paths, _seconds(paths[0]), workers),
        labels=np.array([classes.index(label) for label in table["scene_label"]], np.int64),
        devices=tuple(device for _, device in origins),
        locations=tuple(location for location, _ in origins),
        classes=classes,
        files=files,
    )


def _read_list(path: Path) -> pd.DataFrame:
    """A list with columns filename and scene_label, spaces and carriage returns stripped."""
    if not path.is_file():
        msg = (
            f"There is no {path}. Give the folder of the development data set, with "
            "`audio` and `evaluation_setup` in it."
        )
        raise FileNotFoundError(msg)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table.columns = [str(column).strip() for column in table.columns]
    absent = [name for name in ("filename", "scene_label") if name not in table.columns]
    if absent or table.empty:
        msg = (
            f"{path} must be a tab-separated list with a row a clip and the columns filename and "
            f"scene_label: found {len(table)} rows and the columns {', '.join(table.columns)}."
        )
        raise ValueError(msg)
    return table.filter(["filename", "scene_label"]).map(str.strip)


def _origin(name: str) -> tuple[str, str]:
    """(city-location, device) from a file's name."""
    parts = Path(name).stem.split("-")
    if len(parts) not in (5, 6):
        msg = (
            f"'{name}' is not named scene-city-location-segment-device (2020) or "
            "scene-city-location-segment-subsegment-device (2022)."
        )
        raise ValueError(msg)
    return f"{parts[1]}-{parts[2]}", parts[-1]


def _find(root: Path, files: tuple[str, ...]) -> list[Path]:
    """The clips' paths, all of them present."""
    paths = [root / name for name in files]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        msg = (
            f"{len(missing)} of {len(paths)} clips are missing below {root}, the first is "
            f"{missing[0]}. Unpack every audio archive of the data set there."
        )
        raise FileNotFoundError(msg)
    return paths


def _seconds(path: Path) -> float:
    """Length of a clip, to a hundredth of a second."""
    try:
        return round(soundfile.info(path).duration, 2)
    except soundfile.LibsndfileError as error:
        msg = f"{path} cannot be decoded ({error}). Replace the file: it is damaged or not audio."
        raise ValueError(msg) from error
