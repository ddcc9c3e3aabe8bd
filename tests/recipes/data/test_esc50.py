"""Reading ESC-50: layout, suffixes, folds, and errors that name the file."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console

from recipes import esc50
from recipes.data.cache import waveforms
from recipes.data.esc50 import FORMAT, read_esc50

HEADER = "filename,fold,target,category,esc10,src_file,take"


def tone(hertz: float, rate: int, seconds: float = 5.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three clips in ESC-50's layout: a 44.1 kHz wav, a stereo flac and an ogg in a subfolder."""
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio" / "more").mkdir(parents=True)
    rows = [
        "1-1-A-0.wav,1,0,dog,True,1,A",
        "2-2-A-2.wav,2,2,pig,False,2,A",
        "3-3-A-0.wav,3,0,dog,True,3,A",
    ]
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join([HEADER, *rows, ""]))
    soundfile.write(tmp_path / "audio" / "1-1-A-0.wav", tone(440, 44_100), 44_100)
    stereo = np.stack([tone(300, 16_000), np.zeros(80_000)], axis=1)
    soundfile.write(tmp_path / "audio" / "2-2-A-2.flac", stereo, 16_000)
    soundfile.write(tmp_path / "audio" / "more" / "3-3-A-0.ogg", tone(500, 16_000), 16_000)
    return tmp_path


def test_finds_files_by_stem_and_decodes_any_rate(root: Path, tmp_path: Path) -> None:
    listing = read_esc50(root)
    assert listing.table["file"].tolist() == [
        "audio/1-1-A-0.wav", "audio/2-2-A-2.flac", "audio/more/3-3-A-0.ogg"
    ]  # fmt: skip
    assert listing.labels.tolist() == [0, 2, 0]
    assert listing.table["fold"].tolist() == [1, 2, 3]
    assert listing.table["scene"].tolist() == ["dog", "pig", "dog"]
    assert listing.classes == ("dog", "class 1", "pig")
    audio = waveforms(listing.paths, FORMAT, tmp_path / "cache").audio[:, 0]
    assert audio.shape == (3, 80_000)
    # Away from the ends a resampled tone is the tone: 440 Hz at 16 kHz, half of full scale.
    middle = slice(1000, 79_000)
    expected = tone(440, 16_000) * 32_768
    assert np.abs(audio[0] - expected)[middle].max() < 0.01 * 32_768
    # Stereo is averaged, to the last bit but rounding.
    assert np.abs(audio[1] - tone(300, 16_000) * 16_384).max() <= 1


def test_reads_some_folds_in_the_table_order(root: Path) -> None:
    listing = read_esc50(root, folds=(3, 1))
    assert listing.table["fold"].tolist() == [1, 3]
    (root / "audio" / "2-2-A-2.flac").unlink()
    assert len(read_esc50(root, folds=(1,))) == 1


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no .*esc50\.csv.*`meta` and `audio`"):
        read_esc50(tmp_path)


def test_missing_clips_are_refused_or_left_out(root: Path) -> None:
    (root / "audio" / "1-1-A-0.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 clips .* the first is 1-1-A-0\.wav"):
        read_esc50(root)
    with pytest.warns(UserWarning, match=r"1 of 3 clips .* are left out: 1-1-A-0\.wav"):
        assert read_esc50(root, missing="skip").labels.tolist() == [2, 0]
    assert len(read_esc50(root, missing="unchecked")) == 3
    with (
        pytest.warns(UserWarning, match="1 of 1"),
        pytest.raises(FileNotFoundError, match="None of the 1 clips"),
    ):
        read_esc50(root, (1,), missing="skip")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2-2-A-2.wav", "1-1-A-0.wav", r"names 1 clips more than once: 1-1-A-0\.wav"),
        ("2,2,pig", "2,two,pig", "counting numbers in the column target; found 0, two"),
        ("2,2,pig", "2,-2,pig", "counting numbers in the column target"),
        ("2,2,pig", "2,2.0,pig", "counting numbers in the column target"),
        ("2,2,pig", "2,300000000,pig", r"the target 300000000: .* fewer than 1000 are read"),
        ("2,2,pig", "2,99999999999999999999,pig", "counting numbers in the column target"),
        ("2,2,pig", "2,2,", r"1 rows with an empty field, the first is row 2: .*2-2-A-2"),
        ("2,2,pig,False,2,A", "2,2", "1 rows with an empty field, the first is row 2"),
        ("2-2-A-2.wav", " ", "1 rows with an empty field, the first is row 2"),
        ("2,2,pig", "2,0,pig", "target 0 with more than one category: dog, pig"),
        ("2,2,pig", "2,2,dog", "category dog with more than one target: 0, 2"),
        ("2-2-A-2.wav", "1-1-A-0.ogg", r"names 1 clips more than once: 1-1-A-0\.wav, 1-1-A-0\.o"),
    ],
)
def test_malformed_tables(root: Path, old: str, new: str, message: str) -> None:
    table = root / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_esc50(root)


def test_words_and_numbers_stay_what_they_are(root: Path) -> None:
    """Categories that look like missing values, names that are numbers, spaces after commas."""
    table = root / "meta" / "esc50.csv"
    content = table.read_text().replace("dog", "None").replace("pig", "NA")
    for name in ("1-1-A-0", "2-2-A-2", "3-3-A-0"):
        content = content.replace(f"{name}.wav", name[0])
        next(root.rglob(f"{name}.*")).rename(root / "audio" / f"{name[0]}.wav")
    table.write_text(content.replace(",", ", "))
    listing = read_esc50(root)
    assert listing.classes == ("None", "class 1", "NA")
    assert listing.table["file"].tolist() == ["audio/1.wav", "audio/2.wav", "audio/3.wav"]


def test_the_file_directly_in_audio_counts(root: Path) -> None:
    expected = read_esc50(root).table["file"].tolist()
    old, own = root / "audio" / "old", root / "audio" / "1-1-A-0.wav"
    old.mkdir()
    shutil.copy(own, old)
    shutil.copy(own, own.with_suffix(".flac"))  # its name is not the table's
    assert read_esc50(root).table["file"].tolist() == expected
    shutil.copy(root / "audio" / "more" / "3-3-A-0.ogg", old)
    message = r"2 files .* clip 3-3-A-0\.wav: more/3-3-A-0\.ogg, old/3-3-A-0\.ogg"
    with pytest.raises(ValueError, match=message):
        read_esc50(root)
    assert len(read_esc50(root, (1, 2))) == 2


def test_an_unknown_way_with_missing_clips(root: Path) -> None:
    with pytest.raises(ValueError, match="missing='ignore': it must be one of 'refuse', 'skip'"):
        read_esc50(root, missing="ignore")


@pytest.mark.parametrize("content", ["", HEADER + "\n", '"'])
def test_empty_tables(root: Path, content: str) -> None:
    (root / "meta" / "esc50.csv").write_text(content)
    with pytest.raises(ValueError, match=r"esc50\.csv (has no rows|is not ESC-50's)"):
        read_esc50(root)


def test_windows_line_ends_and_a_byte_order_mark(root: Path) -> None:
    expected, table = read_esc50(root), root / "meta" / "esc50.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert read_esc50(root).table.equals(expected.table)


def test_wrong_columns_are_named(root: Path) -> None:
    table = root / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("target", "label"))
    with pytest.raises(ValueError, match="has no column target: found filename, fold, label"):
        read_esc50(root)


def test_unknown_fold(root: Path) -> None:
    with pytest.raises(ValueError, match=r"Folds \[3, 7\] were asked .* has \[1, 2, 3\]"):
        read_esc50(root, folds=(3, 7))


@pytest.fixture
def folds(root: Path) -> Path:
    """A clip in each of the five folds."""
    names = [f"{fold}-1-A-0.wav" for fold in range(1, 6)]
    rows = [f"{name},{fold},0,dog,True,1,A" for fold, name in enumerate(names, 1)]
    (root / "meta" / "esc50.csv").write_text("\n".join([HEADER, *rows, ""]))
    for fold, name in enumerate(names, 1):
        soundfile.write(root / "audio" / name, tone(100.0 * fold, 16_000), 16_000)
    return root


def test_the_recipe_loads_through_the_cache(folds: Path, tmp_path: Path) -> None:
    load = partial(
        esc50.load, folds, tmp_path, torch.device("cpu"), Console(quiet=True), tmp_path / "cache"
    )
    first = load()
    assert first.train[0].shape == (4, 1, 64, 126)
    assert first.held_out[0].shape == (1, 1, 64, 126)
    assert first.train[1].tolist() == [0] * 4
    assert len(list((tmp_path / "cache").iterdir())) == 2
    again = load()
    assert torch.equal(again.train[0], first.train[0])


def test_the_recipe_skips_bad_files_as_asked(folds: Path, tmp_path: Path) -> None:
    (folds / "audio" / "2-1-A-0.wav").write_bytes(b"nothing")
    load = partial(
        esc50.load, folds, tmp_path, torch.device("cpu"), Console(quiet=True), tmp_path / "cache"
    )
    with pytest.raises(ValueError, match=r"1 of 4 files .*\n.*2-1-A-0\.wav"):
        load("refuse")
    with pytest.warns(UserWarning, match=r"1 of 4 files .*\n.*2-1-A-0\.wav"):
        data = load("skip")
    assert len(data.train[0]) == len(data.train[1]) == 3


@pytest.mark.data
def test_the_real_data_set(esc50_root: Path) -> None:
    """2,000 clips, 400 a fold, 40 of each of the 50 classes."""
    listing = read_esc50(esc50_root)
    assert np.bincount(listing.labels).tolist() == [40] * 50
    assert listing.table["fold"].value_counts().to_dict() == dict.fromkeys(range(1, 6), 400)
    assert listing.classes[0] == "dog"
    assert len(set(listing.classes)) == 50
    names = listing.table["scene"].to_numpy()
    assert [listing.classes[label] for label in listing.labels] == names.tolist()
