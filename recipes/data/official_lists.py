"""The lists of a TAU data set: one read and checked, and the lists checked against each other."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from recipes.data.listing import first_of, plain_names, read_table, refuse_rows


def read_list(path: Path) -> pd.DataFrame:
    """One list or `meta.csv`: columns as in the file, text stripped, every name once.

    Names are written `audio/x.wav`, also where the file has backslashes, `./` or `//`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no rows, no column `filename`, empty fields, quotes or a name twice.
    """
    advice = (
        "Give the folder of the development data set, with `meta.csv`, `evaluation_setup` and "
        "`audio` in it."
    )
    # A quote means nothing in these lists; read as one, it would join rows up to the next.
    table = read_table(path, advice, "a tab-separated list", sep="\t", quoting=csv.QUOTE_NONE)
    if "filename" not in table.columns or table.empty:
        raise ValueError(
            f"{path} must be a tab-separated list with a row a clip and a column filename: found "
            f"{len(table)} rows and the columns {', '.join(table.columns)}."
        )
    table = table.map(str.strip)
    known = table.columns.intersection(["filename", "scene_label", "identifier", "source_label"])
    table = table[known]
    quoted = table.apply(lambda column: column.str.contains('"', regex=False)).any(axis=1)
    refuse_rows(path, table, (table == "").any(axis=1), "an empty field", "list")
    refuse_rows(path, table, quoted, "a quote", "list")
    table = table.assign(filename=plain_names(table["filename"]))
    twice = table["filename"][table["filename"].duplicated()].unique().tolist()
    if twice:
        raise ValueError(
            f"{path} names {len(twice)} clips more than once: {first_of(twice)}. Remove the "
            "repeated rows, or they count more than once."
        )
    return table


def training_list_path(setup: Path, given: Path | None) -> Path:
    """Path of the training list: the official one, a path, or a name in `evaluation_setup`."""
    if given is None:
        return setup / "fold1_train.csv"
    given = Path(given)
    return given if given.is_file() else setup / given


def training_lists(
    setup: Path, given: Path | None
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """The official training list and the one asked for; None where the data set has none.

    Raises:
        FileNotFoundError: If the list given is not there.
        ValueError: If a list is malformed or without labels, shares clips with the test lists, or
            has other clips or labels than the official one.
    """
    path, whole = training_list_path(setup, given), setup / "fold1_train.csv"
    official = _labelled(whole) if whole.is_file() else None
    table = official if given is None else _labelled(path)
    if official is not None:
        _check_apart(official, whole, setup)
    elif table is not None:
        _check_apart(table, path, setup)
    if table is not None and official is not None:
        foreign = table["filename"][~table["filename"].isin(official["filename"])].tolist()
        if foreign:
            raise ValueError(
                f"{len(foreign)} of the {len(table)} clips of {path} are not in {whole}: "
                f"{first_of(foreign)}. They may be test clips. Take them out of the list."
            )
        check_labels(table, path, official, whole)
    return official, table


def test_list(setup: Path) -> tuple[pd.DataFrame, Path]:
    """The test list with labels where it is there, else the one without; and its path.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If one is malformed, or the two are of different clips.
    """
    with_labels, without = setup / "fold1_evaluate.csv", setup / "fold1_test.csv"
    if with_labels.is_file() and without.is_file():
        _check_equal(with_labels, without)
    if with_labels.is_file() or not without.is_file():
        return _labelled(with_labels), with_labels
    return read_list(without)[["filename"]], without


def _check_equal(with_labels: Path, without: Path) -> None:
    """Refuse two test lists that are of different clips."""
    one, two = (set(read_list(path)["filename"]) for path in (with_labels, without))
    if one != two:
        raise ValueError(
            f"{with_labels} has {len(one - two)} clips that are not in {without}, which has "
            f"{len(two - one)} that are not in the first: {first_of(sorted(one ^ two))}. The test "
            "list is cut or of another data set: take both from the data set again."
        )


def check_labels(rows: pd.DataFrame, path: Path, known: pd.DataFrame | None, source: Path) -> None:
    """Refuse (ValueError) labels of a list that another table contradicts, where that has any."""
    if known is None or not {"scene_label"} <= {*rows} & {*known}:
        return
    other = rows["filename"].map(known.set_index("filename")["scene_label"])
    differs = other.notna() & (rows["scene_label"] != other)
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise ValueError(
            f"{path} and {source} give {differs.sum()} of {len(rows)} clips different scenes: "
            f"{rows['filename'].iloc[row]} is {rows['scene_label'].iloc[row]} in the first and "
            f"{other.iloc[row]} in the second. Take both from one data set."
        )


def _labelled(path: Path) -> pd.DataFrame:
    table = read_list(path)
    if "scene_label" not in table:
        raise ValueError(
            f"{path} must have the columns filename and scene_label: found "
            f"{', '.join(table.columns)}. This list has labels in every data set."
        )
    return table


def _check_apart(training: pd.DataFrame, path: Path, setup: Path) -> None:
    for name in ("fold1_test.csv", "fold1_evaluate.csv"):
        if not (setup / name).is_file():
            continue
        tested = training["filename"].isin(read_list(setup / name)["filename"])
        if tested.any():
            raise ValueError(
                f"{tested.sum()} of the {len(training)} clips of {path} are also in "
                f"{setup / name}: {first_of(training['filename'][tested].tolist())}. Clips that "
                "a network was trained on cannot test it: take the lists from the data set again."
            )
