"""ESC-50 in its official layout.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015: 2,000
clips of five seconds, 50 classes, five folds that keep clips of one source recording together.
`meta/esc50.csv` names `.wav` files; a clip is found by the stem of its name, so folders re-encoded
as flac or ogg work too. Of several files of one stem the one directly in `audio` counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import get_args

import numpy as np
import pandas as pd

from recipes.data.audio import AudioFormat
from recipes.data.listing import (
    Listing,
    Missing,
    first_of,
    one_of,
    plain_names,
    read_table,
    refuse_absent,
    refuse_rows,
)

FORMAT = AudioFormat(rate=16_000, channels=1, seconds=5)
"""Format to which the recipes decode ESC-50; the official clips have 44.1 kHz."""
SUFFIXES = (".wav", ".flac", ".ogg")
COLUMNS = ["filename", "fold", "target", "category"]
MOST_CLASSES = 1000
"""A target from here on is a mistake: classes are counted up to the largest. ESC-50 has 50."""


def read_esc50(
    root: Path, folds: Collection[int] | None = None, *, missing: Missing = "refuse"
) -> Listing:
    """The clips of some folds, in the order of `meta/esc50.csv`.

    Args:
        root: Folder with `meta/esc50.csv` and `audio/`.
        folds: Official folds to read, 1 to 5; all when not given.
        missing: Treatment of clips that are not on disk.

    Returns:
        Labels are the official target numbers, `classes` their names; the table has a column
        `fold`, and `file` is the path found, whatever its suffix.

    Raises:
        FileNotFoundError: If the table or a clip is missing.
        ValueError: If the table is malformed, names a clip twice, or has no such fold; if files do
            not tell which of them is meant; if `missing` is none of its values.
    """
    one_of("missing", missing, get_args(Missing))
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
    advice = "Give the folder that holds ESC-50's `meta` and `audio`, as unpacked from its archive."
    table = read_table(path, advice, "ESC-50's comma-separated table", skipinitialspace=True)
    absent = [column for column in COLUMNS if column not in table.columns]
    if absent:
        raise ValueError(
            f"{path} has no column {', '.join(absent)}: found {', '.join(table.columns)}. It "
            "should be ESC-50's own comma-separated table."
        )
    if table.empty:
        raise ValueError(f"{path} has no rows. It should be ESC-50's own table of 2,000 clips.")
    table = table[COLUMNS].map(str.strip)
    refuse_rows(path, table, (table == "").any(axis=1), "an empty field", "table")
    for column in ("fold", "target"):
        if not table[column].str.fullmatch("[0-9]{1,9}").all():
            raise ValueError(
                f"{path} must have counting numbers in the column {column}; found "
                f"{first_of(table[column].unique().tolist())}."
            )
    table = table.assign(
        filename=plain_names(table["filename"]),
        fold=table["fold"].astype(np.int64),
        target=table["target"].astype(np.int64),
    )
    _check_classes(path, table)
    stems = table["filename"].map(_stem)
    twice = table["filename"][stems.duplicated(keep=False)].unique().tolist()
    if twice:
        raise ValueError(
            f"{path} names {stems[stems.duplicated()].nunique()} clips more than once: "
            f"{first_of(twice)}. A clip is found by its name without suffix: leave one row of each."
        )
    return table


def _check_classes(path: Path, table: pd.DataFrame) -> None:
    """Refuse a table in which target numbers and categories are not one to one."""
    if table["target"].max() >= MOST_CLASSES:
        raise ValueError(
            f"{path} has the target {table['target'].max()}: targets are the numbers of classes "
            f"from 0, in ESC-50 up to 49, and fewer than {MOST_CLASSES} are read. Correct the row."
        )
    for one, other in (("target", "category"), ("category", "target")):
        several = table.groupby(one)[other].unique()
        several = several[several.map(len) > 1]
        if len(several):
            raise ValueError(
                f"{path} has the {one} {several.index[0]} with more than one {other}: "
                f"{first_of(sorted(map(str, several.iloc[0])))}. A target is the number of one "
                "category: take the table from the data set again."
            )


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _files(root: Path, filenames: pd.Series, missing: Missing) -> pd.Series:
    """The audio file of every name below `root`, by stem; None for one that is left out."""
    if missing == "unchecked":
        return "audio/" + filenames
    folder = root / "audio"
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            found[path.stem].append(path)
    chosen = filenames.map(lambda name: _chosen(folder, name, found[_stem(name)]))
    files = chosen.map(lambda path: path.relative_to(root).as_posix(), na_action="ignore")
    absent = filenames[files.isna()].tolist()
    if absent:
        text = (
            f"{len(absent)} of {len(filenames)} clips have no wav, flac or ogg file below {folder}"
        )
        advice = (
            "Unpack ESC-50's whole `audio` folder there, or go on without them: "
            'missing="skip", on a command line --on-bad-file skip.'
        )
        refuse_absent(missing, text, absent, advice)
    return files


def _chosen(folder: Path, name: str, files: list[Path]) -> Path | None:
    """The file that a row means, of those of its stem: the one directly in `audio`, if any is.

    Among several there, the one with the very name of the table.
    """
    direct = [path for path in files if path.parent == folder] or files
    named = [path for path in direct if path.name == PurePosixPath(name).name] or direct
    if len(named) > 1:
        raise ValueError(
            f"{len(named)} files below {folder} may be the clip {name}: "
            f"{first_of([path.relative_to(folder).as_posix() for path in named])}. Keep one of "
            "them, directly in `audio`."
        )
    return named[0] if named else None
