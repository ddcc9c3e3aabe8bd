"""ESC-50 in its official layout.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015: 2,000
clips of five seconds, 50 classes, five folds that keep clips of one source recording together.
`meta/esc50.csv` names `.wav` files; a clip is found by the stem of its name, so folders re-encoded
as flac or ogg work too.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from recipes.audio import AudioFormat
from recipes.listing import Listing, Missing, first_of

FORMAT = AudioFormat(rate=16_000, channels=1, seconds=5)
"""How the recipes decode ESC-50; the official clips have 44.1 kHz."""
SUFFIXES = (".wav", ".flac", ".ogg")
COLUMNS = ("filename", "fold", "target", "category")


def read_esc50(
    root: Path, folds: Collection[int] | None = None, *, missing: Missing = "refuse"
) -> Listing:
    """The clips of some folds, in the order of `meta/esc50.csv`.

    Args:
        root: Folder with `meta/esc50.csv` and `audio/`.
        folds: Which official folds to read, 1 to 5; all when not given.
        missing: What to do about clips that are not on disk.

    Returns:
        Labels are the official target numbers, `classes` their names; the table has a column
        `fold`, and `file` is the path found, whatever its suffix.

    Raises:
        FileNotFoundError: If the table or a clip is missing.
        ValueError: If the table is malformed, names a clip twice, or has no such fold.
    """
    root = Path(root)
    path = root / "meta" / "esc50.csv"
    table = _read_table(path)
    names = table.drop_duplicates("target").set_index("target")["category"]
    classes = tuple(str(names.get(i, f"class {i}")) for i in range(max(table["target"]) + 1))
    folds = set(table["fold"]) if folds is None else set(folds)
    if not folds or folds - set(table["fold"]):
        raise ValueError(
            f"Folds {sorted(folds)} were asked of {root}: its table has "
            f"{sorted(set(table['fold']))}."
        )
    table = table[table["fold"].isin(folds)].reset_index(drop=True)
    rows = pd.DataFrame(
        {
            "file": _files(root, table["filename"], missing),
            "scene": table["category"],
            "label": table["target"].astype(np.int64),
            "fold": table["fold"].astype(np.int64),
        }
    ).dropna(subset="file")
    if rows.empty:
        raise FileNotFoundError(
            f"None of the {len(table)} clips asked for are below {root / 'audio'}. Unpack ESC-50's "
            "whole `audio` folder there."
        )
    return Listing(root, rows.reset_index(drop=True), classes)


def _read_table(path: Path) -> pd.DataFrame:
    """`meta/esc50.csv`, its columns checked."""
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}. Give the folder that holds ESC-50's `meta` and `audio`, as "
            "unpacked from its archive."
        )
    try:
        table = pd.read_csv(path, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not ESC-50's comma-separated table ({error}).") from error
    absent = [column for column in COLUMNS if column not in table.columns]
    if absent:
        raise ValueError(
            f"{path} has no column {', '.join(absent)}: found "
            f"{', '.join(map(str, table.columns))}. It should be "
            "ESC-50's own comma-separated table."
        )
    if table.empty:
        raise ValueError(f"{path} has no rows. It should be ESC-50's own table of 2,000 clips.")
    for column in ("fold", "target"):
        if not pd.api.types.is_integer_dtype(table[column]) or table[column].min() < 0:
            raise ValueError(
                f"{path} must have counting numbers in the column {column}; found "
                f"{first_of([str(value) for value in table[column].unique()])}."
            )
    twice = table["filename"][table["filename"].duplicated()].unique().tolist()
    if twice:
        raise ValueError(f"{path} names {len(twice)} clips more than once: {first_of(twice)}.")
    return table


def _files(root: Path, filenames: pd.Series, missing: Missing) -> pd.Series:
    """The audio file of every name below `root`, by stem; None for one that is left out."""
    if missing == "unchecked":
        return "audio/" + filenames
    folder = root / "audio"
    found = {
        path.stem: path.relative_to(root).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    }
    files = filenames.map(lambda name: found.get(Path(name).stem))
    absent = filenames[files.isna()].tolist()
    if absent:
        text = (
            f"{len(absent)} of {len(filenames)} clips have no wav, flac or ogg file below {folder}"
        )
        if missing == "refuse":
            raise FileNotFoundError(
                f"{text}, the first is {absent[0]}. Unpack ESC-50's whole `audio` folder there, or "
                'go on without them: missing="skip", on a command line --on-bad-file skip.'
            )
        warnings.warn(f"{text} and are left out: {first_of(absent)}", stacklevel=3)
    return files
