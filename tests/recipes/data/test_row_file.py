"""Damaged and foreign files in a cache's folder, and folders that cannot be written."""

from __future__ import annotations

import errno
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recipes.data.audio import AudioFormat, decode
from recipes.data.cache import waveforms
from recipes.data.row_file import NOT_MADE, RowFile

WANTED = AudioFormat(seconds=0.1)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.wav" for i in range(5)]
    for path in paths:
        soundfile.write(path, rng.uniform(-0.5, 0.5, 1_600), 16_000)
    return paths


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, records=np.zeros((5, 2), np.int64))
    return buffer.getvalue()


def npy(header: str) -> bytes:
    """A file of numpy's format with any header; each was an error of another kind to `np.load`."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(80)


DAMAGED = {
    "zip": b"PK\x03\x04 and no more",
    "npz": npz(),
    "no header": npy("{'descr': '<i8', 'fortran_order': "),
    "null byte": npy("{'descr': '<i8\0'"),
    "huge": npy("{'descr': '<i8', 'fortran_order': False, 'shape': (4611686018427387904, 2), }"),
    "other type": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (5, 2), }"),
    "objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (5, 2), }"),
    "long": npy("{'descr': '<i8', 'fortran_order': False, 'shape': (5, 2), }") + bytes(16),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_records_count_as_not_made(
    paths: list[Path], tmp_path: Path, content: bytes
) -> None:
    waveforms(paths, WANTED, tmp_path / "cache")
    records = next((tmp_path / "cache").glob("*/rows.npy"))
    records.write_bytes(content)
    assert (RowFile(records.parent, (5, 1, 1_600)).recorded() == NOT_MADE).all()
    clips = waveforms(paths, WANTED, tmp_path / "cache")
    np.testing.assert_array_equal(clips.audio, [decode(path, WANTED) for path in paths])


def test_records_are_those_that_numpy_reads(paths: list[Path], tmp_path: Path) -> None:
    waveforms(paths, WANTED, tmp_path / "cache")
    records = next((tmp_path / "cache").glob("*/rows.npy"))
    found = RowFile(records.parent, (5, 1, 1_600)).recorded()
    np.testing.assert_array_equal(found, np.load(records))
    assert found[:, 0].tolist() == [path.stat().st_size for path in paths]


@pytest.mark.parametrize("name", ["audio.npy", "rows.npy"])
def test_a_folder_where_a_file_should_be(paths: list[Path], tmp_path: Path, name: str) -> None:
    waveforms(paths, WANTED, tmp_path / "cache")
    path = next((tmp_path / "cache").glob(f"*/{name}"))
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError, match=rf"{name} is a folder where the cache has a file"):
        waveforms(paths, WANTED, tmp_path / "cache")


def test_a_cache_folder_that_cannot_be_written(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory: the cache folder .* --cache") as caught:
        waveforms(paths, WANTED, tmp_path / "file" / "cache")
    assert caught.value.errno == errno.ENOTDIR

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("recipes.data.row_file.FileLock.acquire", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: the cache folder .* folder="):
        waveforms(paths, WANTED, tmp_path / "cache")


def test_an_unknown_way_with_bad_files(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"on_bad_file='ignore': .* 'refuse', 'skip'"):
        waveforms(paths, WANTED, tmp_path / "cache", on_bad_file="ignore")
