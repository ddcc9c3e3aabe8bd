"""TAU Urban Acoustic Scenes (2020 3Class, 2020 Mobile, 2022 Mobile) in their official layout.

    meta.csv                              every clip: name, scene, city and location, device
    evaluation_setup/fold1_train.csv      name and scene
    evaluation_setup/fold1_test.csv       names alone
    evaluation_setup/fold1_evaluate.csv   the names of fold1_test, with scenes
    audio/

The tables are called csv but separated by tabs; some copies have Windows line ends or a byte order
mark. Names are `scene-city-location-segment-device` (2020) or
`scene-city-location-segment-subsegment-device` (2022). In 2020 3Class a name keeps one of ten
scenes while its label is one of three classes.

Version 2.0 of 2020 Mobile withdrew five of its 23,040 files. A list of version 1 still names them:
what is neither in `meta.csv` nor in `audio` is left out, with a warning. A file in `audio` that no
list names is normal: fold 1 leaves a quarter of the clips unused.

The three lists are published; there is none for validation, and the systems of the years 2020 to
2025 mostly select on the test list. `recipes.split` makes a validation part from the training list.
"""

from __future__ import annotations

import warnings
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pandas as pd

from recipes.listing import Listing, Missing, first_of

Part = Literal["train", "test", "all"]

CLASS_OF_SCENE = {
    **dict.fromkeys(("airport", "shopping_mall", "metro_station"), "indoor"),
    **dict.fromkeys(("street_pedestrian", "public_square", "street_traffic", "park"), "outdoor"),
    **dict.fromkeys(("bus", "tram", "metro"), "transportation"),
}
"""The three classes of 2020 3Class, from its README."""

NAME = (
    r"(?P<scene>[^-/]+)-(?P<city>[^-/]+)-(?P<place>[^-/]+)-[^-/]+(?:-[^-/]+)?-(?P<device>[^-/]+)"
    r"\.\w+$"
)
"""Both forms of a file's name; the 2022 form has one field more before the device."""


def read_tau(
    root: Path,
    part: Part,
    *,
    training_list: Path | None = None,
    missing: Missing = "refuse",
) -> Listing:
    """The clips of one part, in the order of their list.

    Args:
        root: Folder with `meta.csv`, `evaluation_setup/` and `audio/`; any of them may be missing
            where the part does not need it.
        part: "train" or "test" of fold 1, or "all" for every clip of `meta.csv`.
        training_list: Another training list, such as the subsets of 2024 (`split5.csv`): a path,
            or a name in `evaluation_setup/`.
        missing: What to do about clips that are not on disk.

    Returns:
        Labels are positions among the classes of the training list, in alphabetical order; where
        there is no such list, among those of `meta.csv`.

    Raises:
        FileNotFoundError: If a list is missing, or a clip is.
        ValueError: If a list is empty or malformed, names a clip twice, has a scene that training
            lacks or a name of another form; if a training list has clips that fold 1 does not
            train on.
    """
    root = Path(root)
    setup = root / "evaluation_setup"
    meta = read_list(root / "meta.csv") if (root / "meta.csv").is_file() else None
    train = _training(setup, training_list)
    if part == "all":
        rows, source = _needed(meta, root / "meta.csv"), root / "meta.csv"
    elif part == "train":
        source = _resolved(setup, training_list)
        rows = _needed(train, source)
    else:
        rows, source = _test_rows(setup)
    rows = _on_disk(root, rows, meta, source, missing)
    rows = _described(rows, meta)
    labelled = train if train is not None else meta
    if labelled is None or "scene_label" not in labelled:
        raise FileNotFoundError(
            f"The classes of {root} are not known: there is neither {setup / 'fold1_train.csv'} "
            "nor a meta.csv with scene_label. Unpack the data set's meta archive there."
        )
    classes = tuple(sorted(set(labelled["scene_label"])))
    scenes = _scenes(rows, classes, source)
    table = pd.DataFrame(
        {
            "file": rows["filename"],
            "scene": scenes,
            "label": scenes.map({name: i for i, name in enumerate(classes)}).astype(np.int64),
            "device": rows["source_label"],
            "city": rows["identifier"].str.partition("-")[0],
            "location": rows["identifier"],
        }
    )
    return Listing(root, table.reset_index(drop=True), classes)


def read_list(path: Path) -> pd.DataFrame:
    """One list or `meta.csv`: columns as in the file, text stripped, every name once.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no rows, no column `filename`, empty fields or a name twice.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}. Give the folder of the development data set, with `meta.csv`, "
            "`evaluation_setup` and `audio` in it."
        )
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a tab-separated list ({error}).") from error
    table.columns = [str(column).strip() for column in table.columns]
    if "filename" not in table.columns or table.empty:
        raise ValueError(
            f"{path} must be a tab-separated list with a row a clip and a column filename: found "
            f"{len(table)} rows and the columns {', '.join(table.columns)}."
        )
    table = table.map(str.strip)
    known = table.columns.intersection(["filename", "scene_label", "identifier", "source_label"])
    table = table[known]
    blank = (table == "").any(axis=1)
    if blank.any():
        row = int(np.flatnonzero(blank)[0])
        raise ValueError(
            f"{path} has {blank.sum()} rows with an empty field, the first is row {row + 1}: "
            f"{table.iloc[row].to_dict()}. Take the list from the data set again."
        )
    twice = table["filename"][table["filename"].duplicated()].unique().tolist()
    if twice:
        raise ValueError(
            f"{path} names {len(twice)} clips more than once: {first_of(twice)}. Remove the "
            "repeated rows, or they count more than once."
        )
    return table


def _resolved(setup: Path, training_list: Path | None) -> Path:
    """Where the training list lies: the official one, a path, or a name in `evaluation_setup`."""
    if training_list is None:
        return setup / "fold1_train.csv"
    given = Path(training_list)
    return given if given.is_file() else setup / given


def _training(setup: Path, training_list: Path | None) -> pd.DataFrame | None:
    """The training list, or None where the data set has none; a given one is part of fold 1."""
    path = _resolved(setup, training_list)
    if training_list is None and not path.is_file():
        return None
    table = read_list(path)
    if "scene_label" not in table:
        raise ValueError(
            f"{path} must have the columns filename and scene_label: found "
            f"{', '.join(table.columns)}. A training list has labels."
        )
    official = setup / "fold1_train.csv"
    if path != official and official.is_file():
        known = set(read_list(official)["filename"])
        foreign = [name for name in table["filename"] if name not in known]
        if foreign:
            raise ValueError(
                f"{len(foreign)} of the {len(table)} clips of {path} are not in {official}: "
                f"{first_of(foreign)}. They may be test clips. Take them out of the list."
            )
    return table


def _needed(table: pd.DataFrame | None, path: Path) -> pd.DataFrame:
    """The table, which this part cannot do without."""
    return read_list(path) if table is None else table


def _test_rows(setup: Path) -> tuple[pd.DataFrame, Path]:
    """The test list with labels where it is there, else the one without."""
    with_labels, without = setup / "fold1_evaluate.csv", setup / "fold1_test.csv"
    if with_labels.is_file() or not without.is_file():
        table = read_list(with_labels)
        if "scene_label" not in table:
            raise ValueError(
                f"{with_labels} must have the columns filename and scene_label: found "
                f"{', '.join(table.columns)}."
            )
        return table, with_labels
    return read_list(without)[["filename"]], without


def _on_disk(
    root: Path, rows: pd.DataFrame, meta: pd.DataFrame | None, source: Path, missing: Missing
) -> pd.DataFrame:
    """The rows whose clips were neither withdrawn from the data set nor, if asked, are missing."""
    known = rows["filename"].isin(meta["filename"]) if meta is not None else True
    found = _found(root, rows["filename"]) if missing != "unchecked" else None
    withdrawn = ~(known | (found if found is not None else False)) if meta is not None else False
    withdrawn = pd.Series(withdrawn, index=rows.index)
    gone = ~found & ~withdrawn if found is not None else pd.Series(data=False, index=rows.index)
    if withdrawn.any():
        names = rows["filename"][withdrawn].tolist()
        warnings.warn(
            f"{source} names {len(names)} clips that are neither in meta.csv nor in audio; they "
            f"were withdrawn from the data set and are left out: {first_of(names)}",
            stacklevel=3,
        )
    if gone.any():
        names = rows["filename"][gone].tolist()
        text = f"{len(names)} of the {len(rows)} clips of {source} are missing below {root}"
        if missing == "refuse":
            raise FileNotFoundError(
                f"{text}, the first is {names[0]}. Unpack every audio archive of the data set "
                'there, or go on without them: missing="skip", on a command line '
                "--on-bad-file skip."
            )
        warnings.warn(f"{text} and are left out: {first_of(names)}", stacklevel=3)
    kept = rows[~(withdrawn | gone)]
    if kept.empty:
        raise FileNotFoundError(
            f"None of the {len(rows)} clips of {source} are below {root}, the first is "
            f"{rows['filename'].iloc[0]}. Unpack the audio archives of this data set there."
        )
    return kept


def _found(root: Path, names: pd.Series) -> pd.Series:
    """Which files are there: a folder is listed once, as 230,000 look-ups would take minutes."""
    folders = {str(PurePosixPath(name).parent) for name in names}
    present = {
        str(PurePosixPath(folder) / entry.name)
        for folder in folders
        if (root / folder).is_dir()
        for entry in (root / folder).iterdir()
    }
    return names.isin(present)


def _described(rows: pd.DataFrame, meta: pd.DataFrame | None) -> pd.DataFrame:
    """The rows with identifier, device and scene from `meta.csv`, where it has them, else the name.

    A scene that only the name tells goes to the column `named`.
    """
    said = rows["filename"].str.extract(NAME)
    said["identifier"] = said["city"] + "-" + said["place"]
    columns = {"identifier": said["identifier"], "source_label": said["device"]}
    described = rows.assign(named=said["scene"])
    by_name = meta.set_index("filename") if meta is not None else pd.DataFrame()
    for column, from_name in columns.items():
        if column in by_name:
            from_name = rows["filename"].map(by_name[column]).fillna(from_name)  # noqa: PLW2901
        described[column] = from_name
    if "scene_label" not in rows and "scene_label" in by_name:
        described["scene_label"] = rows["filename"].map(by_name["scene_label"])
    unknown = described["filename"][described[[*columns]].isna().any(axis=1)].tolist()
    if unknown:
        raise ValueError(
            f"{len(unknown)} clips have no row in meta.csv, and their names do not tell device and "
            f"location: {first_of(unknown)}. A clip of this data set is named "
            "scene-city-location-segment-device (2020) or "
            "scene-city-location-segment-subsegment-device (2022)."
        )
    return described


def _scenes(rows: pd.DataFrame, classes: tuple[str, ...], source: Path) -> pd.Series:
    """Class names, from the list or `meta.csv`, else from the names; all of them in training."""
    named = rows["named"].where(rows["named"].isin(classes), rows["named"].map(CLASS_OF_SCENE))
    scenes = rows["scene_label"].fillna(named) if "scene_label" in rows else named
    scenes = scenes.fillna(rows["named"])
    unknown = sorted(set(scenes.dropna()) - set(classes))
    if unknown or scenes.isna().any():
        count = int((~scenes.isin(classes)).sum())
        raise ValueError(
            f"{source} has scenes that the training list lacks: {', '.join(unknown) or 'unnamed'} "
            f"({count} of {len(rows)} clips). The training list has {', '.join(classes)}. A "
            "network trained on it cannot name others: take lists of one data set."
        )
    return scenes
