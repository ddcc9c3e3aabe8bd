"""Reading TAU's lists: the official counts, real clips, copies of every kind, and what is wrong."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from recipes.data.audio import AudioFormat
from recipes.data.cache import waveforms
from recipes.data.listing import Listing
from recipes.data.tau import read_tau
from tests.helpers.tau import TEST, TRAIN, UNUSED, small, table, write_meta

SCENES = {
    "airport", "bus", "metro", "metro_station", "park", "public_square", "shopping_mall",
    "street_pedestrian", "street_traffic", "tram",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small(tmp_path)


def same(got: Listing, expected: Listing) -> None:
    pd.testing.assert_frame_equal(got.table, expected.table)
    assert got.classes == expected.classes


def test_a_part_in_the_order_of_its_list(root: Path) -> None:
    train = read_tau(root, "train")
    assert train.classes == ("airport", "park", "tram")
    assert train.table["file"].tolist() == [name for name, _ in TRAIN]
    assert train.table["scene"].tolist() == ["airport", "park", "tram", "tram"]
    assert train.labels.tolist() == [0, 1, 2, 2]
    assert train.table["device"].tolist() == ["a", "s1", "b", "a"]
    assert train.table["city"].tolist() == ["lisbon", "paris", "vienna", "lyon"]
    assert train.table["location"].tolist() == ["lisbon-1000", "paris-12", "vienna-3", "lyon-4"]
    assert train.paths[0] == root / TRAIN[0][0]
    assert read_tau(root, "test").labels.tolist() == [1, 2]
    assert len(read_tau(root, "all")) == 7


def test_a_selection_keeps_order_and_classes(root: Path) -> None:
    train = read_tau(root, "train")
    chosen = train.select(train.table["device"] == "a")
    assert chosen.table["file"].tolist() == [TRAIN[0][0], TRAIN[3][0]]
    assert chosen.labels.tolist() == [0, 2]
    assert chosen.classes == train.classes
    for wrong in (np.ones(3, np.bool_), np.arange(4)):
        with pytest.raises(ValueError, match=r"listing of 4 clips .* a boolean for every clip"):
            train.select(wrong)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"\n", b"\r\n"), (b"\n", b" \r\n"), (b"filename", b"\xef\xbb\xbffilename"), (b"\t", b" \t ")],
    ids=["CRLF", "spaces", "BOM", "padded"],
)
def test_copies_made_by_other_programs(root: Path, old: bytes, new: bytes) -> None:
    expected = [read_tau(root, part) for part in ("train", "test", "all")]
    for path in root.rglob("*.csv"):
        path.write_bytes(path.read_bytes().replace(old, new))
    for part, listing in zip(("train", "test", "all"), expected, strict=True):
        same(read_tau(root, part), listing)


@pytest.mark.parametrize(
    "absent",
    [
        ["meta.csv"],
        ["evaluation_setup/fold1_evaluate.csv"],
        ["meta.csv", "evaluation_setup/fold1_evaluate.csv"],
    ],
)
def test_what_a_missing_table_says_is_found_elsewhere(root: Path, absent: list[str]) -> None:
    """Labels of the test part: fold1_evaluate, else meta.csv, else the names."""
    expected = [read_tau(root, part) for part in ("train", "test")]
    for name in absent:
        (root / name).unlink()
    for part, listing in zip(("train", "test"), expected, strict=True):
        same(read_tau(root, part), listing)


def test_meta_goes_before_names(root: Path) -> None:
    path = root / "meta.csv"
    path.write_text(path.read_text().replace("paris-12\ts1", "paris-99\ts3"))
    train = read_tau(root, "train").table
    assert train[["device", "city", "location"]].iloc[1].tolist() == ["s3", "paris", "paris-99"]


def test_without_lists_the_classes_are_those_of_meta(root: Path) -> None:
    shutil.rmtree(root / "evaluation_setup")
    assert read_tau(root, "all").classes == ("airport", "park", "tram")
    with pytest.raises(FileNotFoundError, match=r"There is no .*fold1_train\.csv"):
        read_tau(root, "train")
    with pytest.raises(FileNotFoundError, match=r"There is no .*fold1_evaluate\.csv"):
        read_tau(root, "test")
    (root / "meta.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no .*meta\.csv"):
        read_tau(root, "all")


def test_a_list_of_three_classes_without_labels(root: Path) -> None:
    """2020 3Class: names keep the scene, and the table of its README gives the class."""
    setup = root / "evaluation_setup"
    classes = {"airport": "indoor", "park": "outdoor", "tram": "transportation"}
    rows = [(name, classes[scene]) for name, scene in TRAIN]
    table(setup / "fold1_train.csv", "filename\tscene_label", rows)
    for name in (root / "meta.csv", setup / "fold1_evaluate.csv"):
        name.unlink()
    test = read_tau(root, "test")
    assert test.classes == ("indoor", "outdoor", "transportation")
    assert test.table["scene"].tolist() == ["outdoor", "transportation"]


def test_a_training_subset(root: Path) -> None:
    table(root / "evaluation_setup" / "split5.csv", "filename\tscene_label", TRAIN[:3])
    shutil.copy(root / "evaluation_setup" / "split5.csv", root / "mine.csv")
    for given in (Path("split5.csv"), root / "mine.csv"):
        assert len(read_tau(root, "train", training_list=given)) == 3
        assert len(read_tau(root, "test", training_list=given)) == 2
    table(root / "mine.csv", "filename\tscene_label", [*TRAIN[:2], TEST[0]])
    with pytest.raises(ValueError, match=r"1 of the 3 clips .* They may be test clips"):
        read_tau(root, "train", training_list=root / "mine.csv")


def test_withdrawn_files_are_left_out(root: Path) -> None:
    """As the five of 2020 Mobile 2.0: still in a list, neither in meta.csv nor in audio."""
    write_meta(root, *TRAIN[:3], *TEST, *UNUSED)
    assert len(read_tau(root, "train")) == 4, "its sound is there: it is no withdrawn file"
    (root / TRAIN[3][0]).unlink()
    for missing in ("refuse", "skip"):
        with pytest.warns(UserWarning, match=r"names 1 clips .* withdrawn .*lyon-4-10-a\.wav"):
            train = read_tau(root, "train", missing=missing)
        assert train.table["file"].tolist() == [name for name, _ in TRAIN[:3]]
    assert len(read_tau(root, "train", missing="unchecked")) == 4, "nobody looked in audio"


@pytest.mark.parametrize(("gone", "withdrawn"), [(5, True), (6, False)])
def test_a_data_set_cut_short_has_no_withdrawn_files(
    root: Path, gone: int, *, withdrawn: bool
) -> None:
    """As many as were ever withdrawn; more are a broken copy, though meta.csv was cut to match."""
    names = [(f"audio/tram-lyon-5-{i}-a.wav", "tram") for i in range(gone)]
    listed = root / "evaluation_setup" / "fold1_train.csv"
    table(listed, "filename\tscene_label", [*TRAIN, *names])
    if withdrawn:
        with pytest.warns(UserWarning, match="names 5 clips .* withdrawn"):
            assert len(read_tau(root, "train")) == 4
        return
    with pytest.raises(FileNotFoundError, match=r"6 of the 10 .* 6 of them also from meta\.csv"):
        read_tau(root, "train")
    with pytest.warns(UserWarning, match="6 of the 10 clips .* missing .* left out"):
        assert len(read_tau(root, "train", missing="skip")) == 4


@pytest.mark.parametrize("meta", [True, False])
def test_missing_files_are_refused_or_left_out(root: Path, *, meta: bool) -> None:
    if not meta:
        (root / "meta.csv").unlink()
    for name, _ in TRAIN[:2]:
        (root / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of the 4 clips .* the first is audio/airport"):
        read_tau(root, "train")
    with pytest.warns(UserWarning, match="2 of the 4 clips .* left out: audio/airport"):
        assert len(read_tau(root, "train", missing="skip")) == 2
    assert len(read_tau(root, "train", missing="unchecked")) == 4
    shutil.rmtree(root / "audio")
    with (
        warnings.catch_warnings(action="ignore"),  # with meta.csv, all count as withdrawn first
        pytest.raises(FileNotFoundError, match=r"None of the 4 .* There is nothing in .*audio"),
    ):
        read_tau(root, "train", missing="skip")


def test_unknown_parts_and_ways_are_refused(root: Path) -> None:
    for part in ("val", "Train"):
        with pytest.raises(ValueError, match=f"part='{part}': .* one of 'train', 'test', 'all'"):
            read_tau(root, part)
    with pytest.raises(ValueError, match=r"missing='ignore': .* 'refuse', 'skip', 'unchecked'"):
        read_tau(root, "train", missing="ignore")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("scene_label", "label"), "columns filename and scene_label: found filename"),
        (("filename", "file"), "a column filename: found 2 rows and the columns file"),
        (("\t", ","), "tab-separated list"),
        (("\tpark", "\theliport"), r"lacks: heliport \(1 of 2 clips\)"),
        (("\tpark", "\t"), "1 rows with an empty field, the first is row 1"),
        (("park-milan-77-500-9-s6.wav\tpark", "tram-milan-78-501-a.wav\ttram"), "1 clips more"),
    ],
)
def test_malformed_lists(root: Path, change: tuple[str, str], message: str) -> None:
    path = root / "evaluation_setup" / "fold1_evaluate.csv"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(ValueError, match=message) as caught:
        read_tau(root, "test")
    assert "fold1_evaluate.csv" in str(caught.value)


@pytest.mark.parametrize("content", ["", "filename\tscene_label\n"])
def test_empty_lists(root: Path, content: str) -> None:
    (root / "evaluation_setup" / "fold1_train.csv").write_text(content)
    with pytest.raises(ValueError, match=r"fold1_train\.csv .* tab-separated list"):
        read_tau(root, "train")


def test_names_of_another_form(root: Path) -> None:
    (root / "meta.csv").unlink()
    table(root / "evaluation_setup" / "fold1_test.csv", "filename", [("audio/0.wav",)])
    (root / "evaluation_setup" / "fold1_evaluate.csv").unlink()
    with pytest.raises(ValueError, match=r"audio/0\.wav\. A clip .* is named scene-city-location"):
        read_tau(root, "test", missing="unchecked")


# --------------------------------------------------------------------------- the official lists


@pytest.fixture
def lists(shared_data: Path) -> Path:
    folder = shared_data / "tau_lists"
    if not folder.is_dir():
        pytest.skip(f"no official lists at {folder}")
    return folder


def official(root: Path, **files: Path) -> Path:
    """A data set's folder with some lists and no sound."""
    (root / "evaluation_setup").mkdir(parents=True)
    for name, path in files.items():
        folder = root if name == "meta" else root / "evaluation_setup"
        shutil.copy(path, folder / f"{name}.csv")
    return root


@pytest.mark.data
@pytest.mark.slow
def test_the_lists_of_2020_mobile(lists: Path, tmp_path: Path) -> None:
    source = lists / "tau2020_mobile_13962"
    root = official(
        tmp_path / "set",
        meta=source / "total.csv",
        fold1_train=source / "fold1_train.csv",
        fold1_evaluate=source / "fold1_evaluate.csv",
    )
    train, test, every = (
        read_tau(root, part, missing="unchecked") for part in ("train", "test", "all")
    )
    assert (len(train), len(test), len(every)) == (13_962, 2_968, 23_035)
    assert set(train.classes) == SCENES
    locations = [set(part.table["location"]) for part in (train, test, every)]
    assert [len(places) for places in locations] == [365, 146, 514]
    assert not locations[0] & locations[1]
    assert train.table["device"].value_counts().to_dict() == {
        "a": 10_215, "b": 749, "c": 748, "s1": 750, "s2": 750, "s3": 750
    }  # fmt: skip
    assert test.table["device"].value_counts().to_dict() == {
        "b": 329, "c": 329, **dict.fromkeys(("a", "s1", "s2", "s3", "s4", "s5", "s6"), 330)
    }  # fmt: skip
    assert every.table["city"].nunique() == 10
    (root / "meta.csv").unlink()
    same(read_tau(root, "train", missing="unchecked"), train)  # names say what meta.csv does


@pytest.mark.data
def test_the_lists_of_2020_three_classes(lists: Path, tmp_path: Path) -> None:
    source = lists / "tau2020_3class_task1b"
    root = official(
        tmp_path / "set",
        fold1_train=source / "fold1_train.csv",
        fold1_test=source / "fold1_test.csv",
    )
    train, test = (read_tau(root, part, missing="unchecked") for part in ("train", "test"))
    assert (len(train), len(test)) == (9_185, 4_185)
    assert train.classes == ("indoor", "outdoor", "transportation")
    assert np.bincount(train.labels).tolist() == [2704, 3757, 2724]
    assert np.bincount(test.labels).tolist() == [1297, 1604, 1284]  # from the names alone
    assert train.table["location"].nunique() == 325
    assert test.table["location"].nunique() == 149
    assert not set(train.table["location"]) & set(test.table["location"])
    assert set(test.table["city"]) - set(train.table["city"]) == {"milan"}
    assert set(train.table["device"]) == {"a"}


@pytest.mark.data
@pytest.mark.slow
def test_the_lists_of_2024(lists: Path, tmp_path: Path) -> None:
    source = lists / "dcase2024_task1"
    root = official(tmp_path / "set", fold1_evaluate=source / "test.csv")
    parts = [
        read_tau(root, "train", training_list=source / f"split{share}.csv", missing="unchecked")
        for share in (5, 10, 25)
    ]
    assert [len(part) for part in parts] == [6_980, 13_960, 34_900]
    files = [set(part.table["file"]) for part in parts]
    assert files[0] < files[1] < files[2]
    given = source / "split25.csv"
    test = read_tau(root, "test", training_list=given, missing="unchecked").table
    assert len(test) == 29_680
    assert test["device"].value_counts().to_dict() == {
        "b": 3_290, "c": 3_290, **dict.fromkeys(("a", "s1", "s2", "s3", "s4", "s5", "s6"), 3_300)
    }  # fmt: skip
    assert not set(parts[2].table["location"]) & set(test["location"])


# ------------------------------------------------------------------------------------- real clips


@pytest.mark.data
def test_all_real_clips_of_2022(shared_data: Path, tmp_path: Path) -> None:
    """200 clips: ten scenes, nine devices, places as meta.csv says, and sound in every one."""
    root = shared_data / "TAU-urban-acoustic-scenes-2022-mobile-development-mini"
    train, test, every = (read_tau(root, part) for part in ("train", "test", "all"))
    assert (len(train), len(test), len(every)) == (120, 80, 200)
    assert set(train.classes) == SCENES
    meta = pd.read_csv(root / "meta.csv", sep="\t").set_index("filename")
    for part in (train, test, every):
        official = meta.loc[part.table["file"]]
        assert part.table["scene"].tolist() == official["scene_label"].tolist()
        assert part.table["device"].tolist() == official["source_label"].tolist()
        assert part.table["location"].tolist() == official["identifier"].tolist()
    assert every.table["device"].nunique() == 9
    clips = waveforms(every.paths, AudioFormat(seconds=1), tmp_path)
    assert clips.audio.shape == (200, 1, 16_000)
    assert (np.abs(clips.audio.astype(int)).max(axis=2) > 10).all()


@pytest.mark.data
def test_all_real_clips_of_2020(shared_data: Path, tmp_path: Path) -> None:
    """Nine stereo clips of ten seconds, 48 kHz and 24 bits, kept as they are."""
    root = shared_data / "TAU-urban-acoustic-scenes-2020-3class-development-mini"
    every = read_tau(root, "all")
    assert every.classes == ("indoor", "outdoor", "transportation")
    assert every.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert every.table["location"].iloc[0] == "london-205"
    clips = waveforms(every.paths, AudioFormat(rate=48_000, channels=2, seconds=10), tmp_path)
    assert clips.audio.shape == (9, 2, 480_000)
    for clip, path in zip(clips.audio, every.paths, strict=True):
        samples, rate = soundfile.read(path, dtype="int32")
        assert rate == 48_000
        np.testing.assert_array_equal(clip, np.rint(samples.T / 65_536).clip(-32_768, 32_767))
        assert not np.array_equal(clip[0], clip[1])
