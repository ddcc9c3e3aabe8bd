"""Unpacking: whole files inside the folder, or none."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from recipes.archive import unpack


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return buffer.getvalue()


def test_the_folder_inside_stands_for_the_folder_given(tmp_path: Path) -> None:
    content = zipped({"top/a/b.txt": b"1", "top/c.txt": b"2", "other/d.txt": b"3"})
    (tmp_path / "a.zip").write_bytes(content)
    unpack(tmp_path / "a.zip", tmp_path / "to", "top")
    files = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert {path.relative_to(tmp_path / "to").as_posix(): path.read_bytes() for path in files} == {
        "a/b.txt": b"1",
        "c.txt": b"2",
        "other/d.txt": b"3",
    }


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "top/../../x", "..\\x", "C:/x"])
def test_members_outside_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"top/inside.txt": b"1", name: b"2"}))
    with pytest.raises(ValueError, match=r"would be written outside .*: nothing was unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")
    assert [path.name for path in tmp_path.rglob("*")] == ["a.zip"]


def test_a_damaged_archive_leaves_no_half_file(tmp_path: Path) -> None:
    content = bytearray(zipped({"top/a.txt": b"whole", "top/b.txt": b"x" * 5_000}))
    content[content.index(b"xxx") + 7] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip is damaged \(Bad CRC-32"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")
    assert (tmp_path / "to" / "a.txt").read_bytes() == b"whole"
    assert not (tmp_path / "to" / "b.txt").exists()
    (tmp_path / "a.zip").write_bytes(content[:-30])
    with pytest.raises(ValueError, match=r"a\.zip is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "to", "top")
