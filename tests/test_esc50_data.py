"""Reading ESC-50: layout, formats, rates, and errors that name the file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recipes.esc50_data import read_esc50

DATA = Path(
    os.environ.get("COMPRESSOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
ESC50 = DATA / "esc50"
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


def test_reads_by_stem_at_any_rate(root: Path) -> None:
    clips = read_esc50(root)
    assert clips.audio.shape == (3, 80_000)
    assert clips.audio.dtype == np.int16
    assert clips.labels.tolist() == [0, 2, 0]
    assert clips.folds.tolist() == [1, 2, 3]
    assert clips.classes == ("dog", "class 1", "pig")
    # Away from the ends a resampled tone is the tone: 440 Hz at 16 kHz, half of full scale.
    middle = slice(1000, 79_000)
    expected = tone(440, 16_000) * 32_768
    assert np.abs(clips.audio[0] - expected)[middle].max() < 0.01 * 32_768
    # Stereo is averaged, to the last bit but rounding.
    assert np.abs(clips.audio[1] - tone(300, 16_000) * 16_384).max() <= 1


def test_reads_some_folds_in_the_table_order(root: Path) -> None:
    clips = read_esc50(root, folds=(3, 1))
    assert clips.folds.tolist() == [1, 3]
    (root / "audio" / "2-2-A-2.flac").unlink()
    assert len(read_esc50(root, folds=(1,)).audio) == 1


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no .*esc50\.csv.*`meta` and `audio`"):
        read_esc50(tmp_path)


def test_missing_clip_is_named(root: Path) -> None:
    (root / "audio" / "1-1-A-0.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 clips .* the first is 1-1-A-0\.wav"):
        read_esc50(root)


def test_wrong_columns_are_named(root: Path) -> None:
    table = root / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("target", "label"))
    with pytest.raises(ValueError, match="has no column target: found filename, fold, label"):
        read_esc50(root)


def test_unknown_fold(root: Path) -> None:
    with pytest.raises(ValueError, match=r"Folds \[3, 7\] were asked .* has \[1, 2, 3\]"):
        read_esc50(root, folds=(3, 7))


def test_corrupt_clip_is_named(root: Path) -> None:
    (root / "audio" / "2-2-A-2.flac").write_bytes(b"fLaC, or so it says")
    with pytest.raises(ValueError, match=r"2-2-A-2\.flac cannot be decoded"):
        read_esc50(root)


def test_short_clip_is_named(root: Path) -> None:
    soundfile.write(root / "audio" / "1-1-A-0.wav", tone(440, 44_100, 4.0), 44_100)
    with pytest.raises(ValueError, match=r"1-1-A-0\.wav lasts 4\.00 s"):
        read_esc50(root)


@pytest.mark.data
@pytest.mark.skipif(not ESC50.is_dir(), reason=f"no ESC-50 at {ESC50}")
def test_the_real_data_set() -> None:
    """Fold 5: 400 clips, eight of each of the 50 classes, and sound in them."""
    clips = read_esc50(ESC50, folds=(5,))
    assert clips.audio.shape == (400, 80_000)
    assert np.bincount(clips.labels).tolist() == [8] * 50
    assert clips.classes[0] == "dog"
    assert len(set(clips.classes)) == 50
    assert (np.abs(clips.audio.astype(int)).max(axis=1) > 100).all()
