"""Unpacking: whole files inside the folder, or none."""

from __future__ import annotations

import errno
import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recipes.files.archive import missing, unpack


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def test_the_folder_inside_stands_for_the_folder_given(tmp_path: Path) -> None:
    content = zipped({"top/a/b.txt": b"1", "top/c.txt": b"2", "other/d.txt": b"3"})
    (tmp_path / "a.zip").write_bytes(content)
    names = unpack(tmp_path / "a.zip", tmp_path / "to", "top")
    assert names == ["a/b.txt", "c.txt", "other/d.txt"]
    files = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "to").as_posix(): path.read_bytes() for path in files} == {
        "a/b.txt": b"1",
        "c.txt": b"2",
        "other/d.txt": b"3",
    }


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/outside.txt", "top/../../x", "..\\x", "C:/x", ".", "top"]
)
def test_members_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"top/inside.txt": b"1", name: b"2"}))
    with pytest.raises(ValueError, match=r"is no file inside .*: nothing was unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")
    assert [path.name for path in tmp_path.rglob("*")] == ["a.zip"]


def test_a_damaged_archive_leaves_no_half_file(tmp_path: Path) -> None:
    content = bytearray(zipped({"top/a.txt": b"whole", "top/b.txt": b"x" * 5_000}))
    content[content.index(b"xxx") + 7] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip is damaged \(Bad CRC-32"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")
    assert (tmp_path / "to" / "a.txt").read_bytes() == b"whole"
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["a.txt"]
    (tmp_path / "a.zip").write_bytes(content[:-30])
    with pytest.raises(ValueError, match=r"a\.zip is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.9])
def test_damage_is_told_in_every_way_of_packing(tmp_path: Path, method: int, where: float) -> None:
    sound = np.random.default_rng(0).integers(0, 99, 20_000, np.uint8).tobytes()
    content = bytearray(zipped({"top/b.txt": sound}, method))
    start = int(where * len(content))
    content[start : start + 40] = bytes(40)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip is damaged \(.+\)\. Delete it and fetch it anew"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")
    assert not list((tmp_path / "to").iterdir())


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [(8, 1, "is encrypted, password required"), (10, 97, "compression method is not")],
    ids=["encrypted", "unknown"],
)
def test_archives_that_python_cannot_open(
    tmp_path: Path, offset: int, value: int, message: str
) -> None:
    """Flags lie at byte 8 and the method at byte 10 of a central header, two less in a local."""
    content = bytearray(zipped({"top/b.txt": b"1"}))
    content[content.index(b"PK\1\2") + offset] = value
    content[content.index(b"PK\3\4") + offset - 2] = value
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.zip cannot .*{message}.* another program.*holds in"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")
    assert not list((tmp_path / "to").iterdir())


def test_an_empty_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({}))
    with pytest.raises(ValueError, match=r"a\.zip holds no file"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")


def test_a_full_disk_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "a.zip").write_bytes(zipped({"top/b.txt": b"1"}))
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")
    assert not list((tmp_path / "to").iterdir())


def test_missing_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/1", "2"):
        (tmp_path / name).touch()
    assert missing(tmp_path, ["a/1", "a/2", "2", "b/c/3"]) == ["a/2", "b/c/3"]
