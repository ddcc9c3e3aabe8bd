"""ESC-50 in its official layout, decoded once into memory.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015: 2,000
clips of five seconds, 50 classes, five folds that keep clips of one source recording together.
`meta/esc50.csv` names `.wav` files; a clip is found by the stem of its name, so folders re-encoded
as flac or ogg work too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from recipes.audio import decode_all

SECONDS = 5
SUFFIXES = (".wav", ".flac", ".ogg")
COLUMNS = ("filename", "fold", "target", "category")


@dataclass(frozen=True)
class Clips:
    """Decoded clips; row i of every array belongs to clip i.

    Attributes:
        audio: int16 (clips, 80000), mono, 16 kHz; divide by 32768 for [-1, 1].
        labels: int64 (clips,), the official target numbers.
        folds: int64 (clips,), 1 to 5.
        classes: Names by target number.
    """

    audio: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    classes: tuple[str, ...]


def read_esc50(root: Path, folds: Collection[int] | None = None, workers: int = 4) -> Clips:
    """Read the clips of some folds, in the order of `meta/esc50.csv`.

    Args:
        root: Folder with `meta/esc50.csv` and `audio/`.
        folds: Which official folds to read, 1 to 5; all when not given.
        workers: Threads that decode.

    Raises:
        FileNotFoundError: If the table or a clip is missing.
        ValueError: If the table lacks a column or a fold, or a clip cannot be decoded or does not
            last five seconds.
    """
    root = Path(root)
    table = _read_table(root / "meta" / "esc50.csv")
    names = table.drop_duplicates("target").set_index("target")["category"]
    classes = tuple(str(names.get(i, f"class {i}")) for i in range(max(table["target"]) + 1))
    folds = set(table["fold"]) if folds is None else set(folds)
    if not folds or folds - set(table["fold"]):
        msg = (
            f"Folds {sorted(folds)} were asked of {root}: its table has "
            f"{sorted(set(table['fold']))}."
        )
        raise ValueError(msg)
    table = table.query("fold in @folds")
    paths = _find(root / "audio", table["filename"].tolist())
    return Clips(
        audio=decode_all(paths, SECONDS, workers),
        labels=table["target"].to_numpy(np.int64, copy=True),
        folds=table["fold"].to_numpy(np.int64, copy=True),
        classes=classes,
    )


def _read_table(path: Path) -> pd.DataFrame:
    """`meta/esc50.csv`, its columns checked."""
    if not path.is_file():
        msg = (
            f"There is no {path}. Give the folder that holds ESC-50's `meta` and `audio`, as "
            "unpacked from its archive."
        )
        raise FileNotFoundError(msg)
    table = pd.read_csv(path)
    absent = [column for column in COLUMNS if column not in table.columns]
    if absent:
        msg = (
            f"{path} has no column {', '.join(absent)}: found "
            f"{', '.join(map(str, table.columns))}. It should be "
            "ESC-50's own comma-separated table."
        )
        raise ValueError(msg)
    return table


def _find(folder: Path, filenames: Sequence[str]) -> list[Path]:
    """The audio file of every name, by stem, anywhere below the folder."""
    found = {
        path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES
    }
    missing = [name for name in filenames if Path(name).stem not in found]
    if missing:
        msg = (
            f"{len(missing)} of {len(filenames)} clips have no wav, flac or ogg file below "
            f"{folder}, the first is {missing[0]}. Unpack ESC-50's whole `audio` folder there."
        )
        raise FileNotFoundError(msg)
    return [found[Path(name).stem] for name in filenames]
