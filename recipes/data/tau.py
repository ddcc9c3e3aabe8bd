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
up to five clips that are neither in `meta.csv` nor in `audio` are left out, with a warning. A file
in `audio` that no list names is normal: fold 1 leaves a quarter of the clips unused.

The three lists are published; there is none for validation, and the systems of the years 2020 to
2025 mostly select on the test list. `split.py` makes a validation part from the training list.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np
import pandas as pd

from recipes.data.listing import Listing, Missing, first_of, one_of, refuse_absent
from recipes.data.official_lists import (
    check_labels,
    read_list,
    test_list,
    training_list_path,
    training_lists,
)

Part = Literal["train", "test", "all"]

WITHDRAWN = 5
"""Most clips of a list that are taken for withdrawn; more are a data set that is not whole."""

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
    root: Path, part: Part, *, training_list: Path | None = None, missing: Missing = "refuse"
) -> Listing:
    """The clips of one part, in the order of their list.

    Args:
        root: Folder with `meta.csv`, `evaluation_setup/` and `audio/`; any of them may be missing
            where the part does not need it.
        part: "train" or "test" of fold 1, or "all" for every clip of `meta.csv`.
        training_list: Another training list, such as the subsets of 2024 (`split5.csv`): a path,
            or a name in `evaluation_setup/`.
        missing: Treatment of clips that are not on disk.

    Returns:
        Labels are positions among the classes of fold 1's training list, in alphabetical order,
        also where a subset lacks some; without that list, among those of the list given, else of
        `meta.csv`.

    Raises:
        FileNotFoundError: If a list is missing, or a clip is.
        ValueError: If a list is empty or malformed, names a clip twice, has a scene that training
            lacks, a label that `meta.csv` contradicts or a name of another form; if a training list
            has clips of the test list or such as fold 1 does not train on; if there is no such part
            or way with missing clips.
    """
    one_of("part", part, get_args(Part))
    one_of("missing", missing, get_args(Missing))
    root = Path(root)
    setup = root / "evaluation_setup"
    meta = read_list(root / "meta.csv") if (root / "meta.csv").is_file() else None
    official, train = training_lists(setup, training_list)
    if part == "all":
        source = root / "meta.csv"
        rows = read_list(source) if meta is None else meta
    elif part == "train":
        source = training_list_path(setup, training_list)
        rows = read_list(source) if train is None else train
    else:
        rows, source = test_list(setup)
    rows = _on_disk(root, rows, meta, source, missing)
    rows = _described(rows, meta)
    labelled = next((table for table in (official, train, meta) if table is not None), None)
    if labelled is None or "scene_label" not in labelled:
        raise FileNotFoundError(
            f"The classes of {root} are not known: there is neither {setup / 'fold1_train.csv'} "
            "nor a meta.csv with scene_label. Unpack the data set's meta archive there."
        )
    classes = tuple(sorted(set(labelled["scene_label"])))
    scenes = _scenes(rows, classes, source)
    check_labels(rows, source, meta, root / "meta.csv")
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


def read_scenes(
    root: Path, part: Part, *, classes: int, training_list: Path | None = None
) -> Listing:
    """The clips of one part, in three classes where ten scenes are listed and three asked for.

    Arguments and errors are those of `read_tau`; lists of other numbers of classes are refused.
    """
    listing = read_tau(root, part, training_list=training_list)
    if len(listing.classes) == classes:
        return listing
    known = set(listing.classes) <= set(CLASS_OF_SCENE)
    names = tuple(sorted(set(CLASS_OF_SCENE.values())))
    if classes != len(names) or not known:
        raise ValueError(
            f"{listing.root} has {len(listing.classes)} classes ({', '.join(listing.classes)}) and "
            f"this recipe is about {classes}: pass the data set of its year."
        )
    scenes = listing.table["scene"].map(CLASS_OF_SCENE)
    labels = scenes.map({name: i for i, name in enumerate(names)}).astype(np.int64)
    return replace(listing, table=listing.table.assign(scene=scenes, label=labels), classes=names)


def _on_disk(
    root: Path, rows: pd.DataFrame, meta: pd.DataFrame | None, source: Path, missing: Missing
) -> pd.DataFrame:
    """The rows whose clips were neither withdrawn from the data set nor, if asked, are missing."""
    if missing == "unchecked":
        return rows
    names = rows["filename"]
    gone = ~_found(root, names)
    unknown = gone & ~names.isin(meta["filename"]) if meta is not None else gone & False
    if 0 < unknown.sum() <= WITHDRAWN:
        warnings.warn(
            f"{source} names {unknown.sum()} clips that are neither in meta.csv nor in audio; they "
            "count as withdrawn from the data set and are left out: "
            f"{first_of(names[unknown].tolist())}",
            stacklevel=3,
        )
        rows, gone = rows[~unknown], gone[~unknown]
    if gone.all():
        raise FileNotFoundError(
            f"None of the {len(names)} clips of {source} are below {root}, the first is "
            f"{names.iloc[0]}. {_what_lies_in(root / 'audio')} Unpack the audio archives of this "
            "data set there."
        )
    if gone.any():
        absent = rows["filename"][gone].tolist()
        text = f"{len(absent)} of the {len(rows)} clips of {source} are missing below {root}"
        if unknown.sum() > WITHDRAWN:
            text += f", {unknown.sum()} of them also from meta.csv"
        advice = (
            f"{_what_lies_in(root / 'audio')} Unpack every archive of the data set there, or go on "
            'without them: missing="skip".'
        )
        refuse_absent(missing, text, absent, advice)
    return rows[~gone]


def _what_lies_in(folder: Path) -> str:
    """A sentence on the files that are there: their names may differ from the list's."""
    files = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    if not files:
        return f"There is nothing in {folder}."
    return f"{folder} holds {len(files)} files, the first is {files[0]}."


def _found(root: Path, names: pd.Series) -> pd.Series:
    """Mask of files that are there; a folder is listed once, as 230,000 look-ups take minutes."""
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
