"""TAU's lists: how they are written, and whether they fit one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.data.official_lists import read_list
from recipes.data.tau import read_tau
from tests.helpers.tau import TEST, TRAIN, UNUSED, small, table, write_meta

LABELLED = "filename\tscene_label"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small(tmp_path)


@pytest.fixture
def setup(root: Path) -> Path:
    return root / "evaluation_setup"


def test_what_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no .*x\.csv\. Give the folder"):
        read_list(tmp_path / "x.csv")
    with pytest.raises(ValueError, match=r"is no file but a folder or a device\. Give the folder"):
        read_list(tmp_path)


@pytest.mark.parametrize("old", ["audio/airport", "\tairport", "airport-lisbon"])
def test_a_stray_quote_is_seen_and_joins_no_rows(setup: Path, old: str) -> None:
    path = setup / "fold1_train.csv"
    path.write_text(path.read_text().replace(old, old[:1] + '"' + old[1:], 1))
    with pytest.raises(ValueError, match=r"1 rows with a quote, the first is row 1: .*lisbon"):
        read_list(path)


def test_a_short_row(setup: Path) -> None:
    path = setup / "fold1_train.csv"
    path.write_text(path.read_text().replace("b.wav\ttram", "b.wav"))
    with pytest.raises(ValueError, match=r"1 rows with an empty field, the first is row 3"):
        read_list(path)


@pytest.mark.parametrize(
    "written",
    ["./audio/", "audio//", "audio/./", ".//audio/", "audio\\", ".\\audio\\"],
)
def test_names_as_other_programs_write_them(root: Path, setup: Path, written: str) -> None:
    expected = read_tau(root, "train").table["file"].tolist()
    path = setup / "fold1_train.csv"
    path.write_text(path.read_text().replace("audio/", written))
    assert read_tau(root, "train").table["file"].tolist() == expected


def test_names_that_differ_from_those_on_disk_are_shown(root: Path, setup: Path) -> None:
    path = setup / "fold1_train.csv"
    content = path.read_text()
    path.write_text(content.replace("audio/", ""))
    shown = r"audio holds 8 files, the first is airport-lisbon-1000-40000-0-a\.wav"
    (root / "meta.csv").unlink()
    with pytest.raises(FileNotFoundError, match=rf"the first is airport.*wav\. .*{shown}"):
        read_tau(root, "train")
    path.write_text(content)
    for file in (root / "audio").iterdir():
        file.rename(file.with_suffix(".WAV"))
    with pytest.raises(FileNotFoundError, match=r"the first is audio/.*wav\. .*a\.WAV\. Unpack"):
        read_tau(root, "train")


@pytest.mark.parametrize("held_out", ["fold1_test.csv", "fold1_evaluate.csv"])
def test_a_clip_in_training_and_test(root: Path, setup: Path, held_out: str) -> None:
    table(setup / "fold1_train.csv", LABELLED, [*TRAIN, TEST[0]])
    for name in {"fold1_test.csv", "fold1_evaluate.csv"} - {held_out}:
        (setup / name).unlink()
    with pytest.raises(
        ValueError,
        match=rf"1 of the 5 .*fold1_train\.csv are also in .*{held_out}: audio/park-milan",
    ):
        read_tau(root, "train")


def test_a_list_given_without_the_official_one_is_no_test_list(root: Path, setup: Path) -> None:
    (setup / "fold1_train.csv").unlink()
    for name, rows in (("fold1_evaluate.csv", TEST), ("mine.csv", [*TRAIN, TEST[1]])):
        table(setup / name, LABELLED, rows)
        with pytest.raises(ValueError, match=r"clips of .* are also in .*fold1_test"):
            read_tau(root, "train", training_list=Path(name))


def test_labels_that_meta_contradicts(root: Path) -> None:
    write_meta(root, (TRAIN[0][0], "tram"), *TRAIN[1:], (TEST[0][0], "tram"), *TEST[1:], *UNUSED)
    for part, clip in (("train", "airport-lisbon"), ("test", "park-milan")):
        message = rf"1 of \d clips different scenes: audio/{clip}.* in the first and tram in"
        with pytest.raises(ValueError, match=message):
            read_tau(root, part)


def test_labels_of_a_subset_that_the_whole_list_contradicts(root: Path, setup: Path) -> None:
    table(setup / "mine.csv", LABELLED, [(TRAIN[0][0], "park")])
    with pytest.raises(ValueError, match=r"mine\.csv and .*fold1_train\.csv give 1 of 1 clips"):
        read_tau(root, "train", training_list=Path("mine.csv"))


def test_a_subset_without_a_class_keeps_the_numbers(root: Path, setup: Path) -> None:
    table(setup / "mine.csv", LABELLED, TRAIN[1:])
    train = read_tau(root, "train", training_list=Path("mine.csv"))
    assert train.classes == read_tau(root, "train").classes == ("airport", "park", "tram")
    assert train.labels.tolist() == [1, 2, 2]


def test_two_test_lists_of_different_clips(root: Path, setup: Path) -> None:
    """A cut list would be judged on what is left of it."""
    labelled, bare = setup / "fold1_evaluate.csv", setup / "fold1_test.csv"
    known = [path for path in (labelled, bare) if path.is_file()]
    lines = known[0].read_text().splitlines()
    labelled.write_text("\n".join(lines) + "\n")
    bare.write_text("\n".join(line.split("\t")[0] for line in lines) + "\n")
    assert len(read_tau(root, "test")) == len(lines) - 1
    labelled.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"0 clips that are not in .*test.csv, which has 1 that"):
        read_tau(root, "test")
