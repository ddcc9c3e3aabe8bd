"""Output files and packages: written ones pass the check, broken ones are refused by name."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recipes.submission.forms import FORM2020, FORM2022, FORM2024, FORMS, SCENES, Form
from recipes.submission.output import (
    check_output,
    check_package,
    write_output,
    write_package,
)
from tests.helpers.forms import YEARS, submission

FILES = ("0.wav", "1.wav", "2.wav")


def shares(clips: int, classes: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), clips)


def output(folder: Path) -> Path:
    path = folder / "out.csv"
    write_output(path, FILES, shares(3), SCENES)
    return path


def read_output(path: Path, classes: Sequence[str]) -> dict[str, list[float]]:
    """Probabilities by name, of a file without a flaw."""
    assert check_output(path, classes) == ()
    header, *rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")]
    places = [header.index(name) for name in classes]
    return {row[header.index("filename")]: [float(row[k]) for k in places] for row in rows[:-1]}


def package(root: Path, form: Form, clips: int = 3) -> Path:
    probabilities = [shares(clips, len(form.classes), seed) for seed in range(len(form.parts))]
    return write_package(root, submission(form), form, probabilities, form.files[:clips])


FITTING = st.characters(exclude_characters="\t\r\n", exclude_categories=["Cs"])
"""What may stand in a field."""
WEIGHTS = arrays.arrays(np.float64, (4, 3), elements=st.floats(1e-9, 1))


@given(weights=WEIGHTS)
def test_every_number_reads_back_as_it_was(
    weights: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.csv"
    rows = weights / weights.sum(1, keepdims=True)
    names = [f"audio/{i}.wav" for i in range(4)]
    write_output(path, names, rows, FORM2020.classes)
    found = read_output(path, FORM2020.classes)
    np.testing.assert_array_equal([*found.values()], rows)
    assert [*found] == ["0.wav", "1.wav", "2.wav", "3.wav"]


def test_it_is_a_table_for_other_readers(tmp_path: Path) -> None:
    path = output(tmp_path)
    table = pd.read_csv(path, sep="\t")
    assert list(table.columns) == ["filename", "scene_label", *SCENES]
    np.testing.assert_array_equal(table[list(SCENES)].to_numpy(), shares(3))
    assert list(table["scene_label"]) == [SCENES[i] for i in shares(3).argmax(1)]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert [len(row) for row in rows] == [12] * 4


def test_columns_may_come_in_any_order_and_lines_end_as_on_windows(tmp_path: Path) -> None:
    path = output(tmp_path)
    table = pd.read_csv(path, sep="\t", dtype=str)
    table = table[list(reversed(table.columns))]
    table.to_csv(path, sep="\t", index=False, lineterminator="\r\n")
    assert check_output(path, SCENES, FILES) == ()


def test_single_precision_reads_back(tmp_path: Path) -> None:
    path, rows = tmp_path / "out.csv", shares(3).astype(np.float32)
    write_output(path, FILES, rows, SCENES)
    found = np.array([*read_output(path, SCENES).values()], np.float32)
    np.testing.assert_array_equal(found, rows)


def test_rounding_above_one_is_written_as_one(tmp_path: Path) -> None:
    path, rows = tmp_path / "out.csv", np.eye(10)[:3] * 1.0000002
    write_output(path, FILES, rows, SCENES)
    np.testing.assert_array_equal([*read_output(path, SCENES).values()], np.eye(10)[:3])


@settings(max_examples=40)
@given(
    classes=st.lists(st.text(FITTING), min_size=2, max_size=3, unique=True),
    names=st.lists(st.text(FITTING.filter(lambda sign: sign != "/")), min_size=2, unique=True),
)
def test_what_is_written_reads_back_whatever_the_names(
    classes: list[str], names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Quotes, commas, marks and letters of any script among them."""
    path = tmp_path_factory.getbasetemp() / "names.csv"
    rows, files = shares(len(names), len(classes)), [f"{name}.wav" for name in names]
    write_output(path, files, rows, classes)
    found = read_output(path, classes)
    assert [*found] == files
    np.testing.assert_array_equal([*found.values()], rows)


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\rb", "filename", "scene_label", "\ud800"])
def test_bad_names_of_classes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"cannot have a class called .* Rename the class"):
        write_output(tmp_path / "out.csv", FILES, shares(3, 2), ("bus", name))
    assert not list(tmp_path.iterdir())


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = output(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert check_output(path, SCENES, FILES) == ()


def edited(line: int, field: int, text: str) -> Callable[[str], str]:
    """Puts a text in one field, counted from 0; lines from 1 as in messages."""

    def edit(content: str) -> str:
        rows = [row.split("\t") for row in content.split("\n")]
        rows[line - 1][field] = text
        return "\n".join("\t".join(row) for row in rows)

    return edit


COLUMNS = [
    (edited(3, place, text), f":3: {name} '{text}' is no probability")
    for place, name in enumerate(SCENES, 2)
    for text in (
        "",
        "much",
        "nan",
        "-0.1",
        "1.5",
        "1_0e-1",
        " 1 ",
        "\N{ARABIC-INDIC DIGIT ZERO}",
        "0x0",
    )
]
HEADERS = [
    (edited(1, place, name.upper()), f":1: column {name} is missing")
    for place, name in enumerate(("filename", "scene_label", *SCENES))
]
OTHERS = [
    (edited(2, 0, "0.mp3"), ":2: filename '0.mp3' does not end in .wav"),
    (edited(2, 0, "9.wav"), "line 2: filename '9.wav' is none of the clips"),
    (edited(2, 0, "9.wav"), "1 of 3 clips are missing, first 0.wav"),
    (edited(4, 0, "audio/1.wav"), ":4: filename '1.wav' stands in line 3 already"),
    (edited(2, 1, "beach"), ":2: scene_label 'beach' is no class"),
    (edited(2, 1, "tram"), ":2: scene_label tram has "),
    (edited(2, 5, "0.9"), ":2: the probabilities sum to "),
    (edited(1, 2, "bus"), ":1: column 'bus' comes twice"),
    (edited(1, 2, "beach"), ":1: column 'beach' is unknown"),
    (lambda text: text.replace("\t", ","), ":1: column filename is missing; found 1 columns"),
    (lambda text: text.replace("1.wav\t", "1.wav "), ":3: there are 11 fields, not 12"),
    (lambda text: text + "\n", ":5: there are 1 fields, not 12"),
    (lambda text: text.partition("\n")[0] + "\n", "3 of 3 clips are missing"),
    (lambda _: "", ":1: column filename is missing"),
]


@pytest.mark.parametrize(("edit", "message"), [*COLUMNS, *HEADERS, *OTHERS])
def test_every_wrong_field_is_named_with_its_line(
    tmp_path: Path, edit: Callable[[str], str], message: str
) -> None:
    path = output(tmp_path)
    assert check_output(path, SCENES, FILES) == ()
    path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    problems = check_output(path, SCENES, FILES)
    assert any(message in problem for problem in problems)
    assert all(problem.startswith(str(path)) for problem in problems)


def test_all_problems_are_found(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    write_output(path, [f"{i}.wav" for i in range(30)], shares(30), SCENES)
    path.write_text(path.read_text(encoding="utf-8").replace(".wav", ".mp3"), encoding="utf-8")
    assert len(check_output(path, SCENES)) == 30


def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    assert "cannot be read" in check_output(tmp_path / "none.csv", SCENES)[0]
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8" in check_output(tmp_path / "binary.csv", SCENES)[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (FILES[:2], "2 names"),
        (("0.wav", "1.wav", "x/1.wav"), "2 different"),
        (("0.wav", "1.wav", "2.flac"), "the first '2.flac'"),
        (("0.wav", "1.wav", "2\t.wav"), "1 not so"),
        (("0.wav", "1.wav", "\udcff.wav"), "1 not so"),
    ],
)
def test_bad_names_are_not_written(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_output(tmp_path / "out.csv", files, shares(3), SCENES)
    with pytest.raises(ValueError, match="rows are no distribution"):
        write_output(tmp_path / "out.csv", FILES, 2 * shares(3), SCENES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMS, ids=YEARS)
def test_a_written_package_passes(tmp_path: Path, form: Form) -> None:
    folder = package(tmp_path, form)
    label = submission(form).label
    assert folder == tmp_path / "task1" / label
    assert check_package(folder, form, FILES) == ()
    parts = ["output"]
    if form is FORM2024:
        parts = [f"output.split_{percent}" for percent in (5, 10, 25, 50, 100)]
    expected = {f"{label}.meta.yaml", *(f"{label}.{part}.csv" for part in parts)}
    assert {file.name for file in folder.iterdir()} == expected
    assert [entry.name for entry in tmp_path.iterdir()] == ["task1"]


def test_a_package_of_the_whole_evaluation_set_is_asked_by_default(tmp_path: Path) -> None:
    whole = package(tmp_path, FORM2020, FORM2020.clips)
    assert check_package(whole, FORM2020) == ()
    few = package(tmp_path / "few", FORM2020)
    assert "8637 of 8640 clips are missing, first 3.wav" in check_package(few, FORM2020)[0]


def test_missing_and_strange_files_are_named(tmp_path: Path) -> None:
    folder = package(tmp_path, FORM2024)
    (folder / "Author_EX_task1_1.output.split_25.csv").unlink()
    (folder / "Author_EX_task1_1.meta.yaml").rename(folder / "notes.txt")
    assert check_package(folder, FORM2024, FILES) == (
        f"{folder}: Author_EX_task1_1.meta.yaml is missing",
        f"{folder}: Author_EX_task1_1.output.split_25.csv is missing",
        f"{folder}: notes.txt does not belong to the form of 2024",
    )
    other = folder.rename(folder.with_name("some.folder"))
    assert "the folder's name must be Author_INST_task1_N" in check_package(other, FORM2024)[0]
    assert "no such folder" in check_package(folder, FORM2024)[0]


def test_a_package_says_what_is_wrong_in_each_file(tmp_path: Path) -> None:
    folder = package(tmp_path, FORM2024)
    for file in folder.iterdir():
        file.write_text(file.read_text(encoding="utf-8").replace("wav", "mp3").replace("@", "at"))
    problems = check_package(folder, FORM2024, FILES)
    assert all(any(file.name in problem for problem in problems) for file in folder.iterdir())


def test_a_package_that_would_not_pass_is_not_left_behind(tmp_path: Path) -> None:
    good, rows = submission(FORM2022), [shares(3)]
    with pytest.raises(ValueError, match="abbreviation"):
        write_package(tmp_path, replace(good, abbreviation="x" * 11), FORM2022, rows, FILES)
    with pytest.raises(ValueError, match="for each of 3 clips: got 118800 names"):
        write_package(tmp_path, good, FORM2022, rows)  # only three of all clips
    with pytest.raises(ValueError, match="rows are no distribution"):
        write_package(tmp_path, good, FORM2022, [2 * rows[0]], FILES)
    folder = tmp_path / "task1" / good.label
    for wrong in (replace(good, name=""), good):
        with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
            write_package(tmp_path, wrong, FORM2022, rows, FILES[:2])
        assert ".part" not in str(caught.value)
    with pytest.raises(ValueError, match=r"'\.\./x_TAU_task1_1' .* must be Author_INST"):
        write_package(tmp_path, replace(good, label="../x_TAU_task1_1"), FORM2022, rows, FILES)
    with pytest.raises(ValueError, match="with 2 outputs is no submission of 2022: 1 outputs"):
        write_package(tmp_path, good, FORM2022, rows * 2, FILES)
    assert not list(tmp_path.iterdir())


def test_a_package_is_not_overwritten(tmp_path: Path) -> None:
    package(tmp_path, FORM2022)
    with pytest.raises(FileExistsError, match="exists already"):
        package(tmp_path, FORM2022)
