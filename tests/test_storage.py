"""One changed digit in a JSON file that a run reads again is found, and the file is named."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from compressor import storage
from compressor.storage import read_json, sealed
from recipes import esc50
from recipes.evaluate import recorded
from recipes.judging import system
from recipes.running.run_folder import RunFolder
from recipes.running.stages import Stage, read_counts
from recipes.sweeps.trial import RECORD, Record, read_record
from tests.recipes.judging.test_system import kept


@dataclass(frozen=True)
class Config:
    """Settings of a run that trains nothing."""

    width: float = 0.25
    epochs: int = 120


Read = Callable[[], object]


def record(folder: Path) -> tuple[Path, Read]:
    tree = {"model": {"w": torch.ones(3)}, "log": [0.125, 17, (1, 2.5e-3)]}
    tensors: dict[str, torch.Tensor] = {}
    storage.write(folder, "state", tensors, storage.flatten(tree, tensors))
    return folder / "state.json", lambda: storage.read(folder, "state")


def settings(folder: Path) -> tuple[Path, Read]:
    RunFolder(folder).begin(Config(), "a1b2c3")
    return folder / "config.json", lambda: RunFolder(folder).begin(Config(), "a1b2c3")


def stage(folder: Path) -> tuple[Path, Read]:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))
    Stage("dense", folder, 2022).keep(model, (torch.zeros(1, 1, 8, 8),))
    return folder / "dense.json", lambda: read_counts(folder, "dense")


def heard(folder: Path) -> tuple[Path, Read]:
    kept(folder)
    return folder / "system.json", lambda: system.read(folder)


def figures(folder: Path) -> tuple[Path, Read]:
    said = {"generated": True, "data": "scenes", "validation": None, "result": {"accuracy": 0.75}}
    storage.write_bytes(folder / "evaluation.json", sealed(said))
    return folder / "evaluation.json", lambda: recorded(folder)


def seconds(folder: Path) -> tuple[Path, Read]:
    kind: dict[str, object] = {"data": "esc50"}
    storage.write_bytes(folder / "result.json", sealed({**kind, "fit CPU seconds": 12.5}))
    return folder / "result.json", lambda: esc50.earlier_seconds(folder, kind)


KINDS = [record, settings, stage, heard, figures, seconds]


def changed(text: str) -> Iterator[str]:
    """The text with one digit changed, every digit in turn."""
    for found in re.finditer(r"\d", text):
        place = found.start()
        yield f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_digit_is_found(
    kind: Callable[[Path], tuple[Path, Read]], tmp_path: Path
) -> None:
    file, read = kind(tmp_path)
    text = file.read_text()
    read()
    texts = list(changed(text))
    assert len(texts) > 25, "there are figures in it, and a checksum"
    for other in texts:
        file.write_text(other)
        with pytest.raises(ValueError, match=re.escape(str(file))):
            read()
    file.write_text(text)
    read()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_before_without_a_checksum_is_read(
    kind: Callable[[Path], tuple[Path, Read]], tmp_path: Path
) -> None:
    file, read = kind(tmp_path)
    file.write_text(json.dumps(read_json(file)))
    assert not file.read_text().startswith('{"checksum')
    read()


def test_a_trial_of_a_changed_digit_is_made_again(tmp_path: Path) -> None:
    said = Record((), None, "done", attempts=1, values={"accuracy": 0.75})
    storage.write_bytes(tmp_path / RECORD, sealed(vars(said)))
    assert read_record(tmp_path) == said
    (tmp_path / RECORD).write_text((tmp_path / RECORD).read_text().replace("0.75", "0.95"))
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("layout", [None, 0, 4])
def test_the_layout_of_a_file_is_free(layout: int | None, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(sealed({"b": [1, (2, 3)], "a": {"x": 0.1}}))
    said = json.loads((tmp_path / "a.json").read_text())
    (tmp_path / "a.json").write_text(json.dumps(said, indent=layout))
    assert read_json(tmp_path / "a.json") == {"b": [1, [2, 3]], "a": {"x": 0.1}}


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000, "1" * 5000, "\udcff"])
def test_what_is_no_record_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=r"a\.json is damaged: it is n"):
        read_json(tmp_path / "a.json")


FILES = {"a.txt": b"one", "b.txt": b"two"}
NEW = {"a.txt": b"three", "b.txt": b"four"}


class Killed(BaseException):
    """What nothing here catches."""


def inside(folder: Path) -> dict[str, bytes]:
    """Content by name, without the checksums."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != storage.SUMS}


def is_whole(folder: Path) -> bool:
    """Whether all files are as the checksums say: what ``sha256sum -c`` looks at."""
    lines = (folder / storage.SUMS).read_text().splitlines()
    pairs = [line.split("  ") for line in lines if not line.startswith("#")]
    assert pairs
    return all(
        (folder / name).exists()
        and hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        for digest, name in pairs
    )


def nothing(*_: object, **__: object) -> None: ...


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException) -> list[str]:
    """Fail at one of the steps that change what a folder shows; the list says what was done."""
    done: list[str] = []

    def counted(name: str) -> Callable[[Path, Path], Path]:
        known = getattr(Path, name)

        def call(path: Path, target: Path) -> Path:
            if len(done) == step:
                raise error
            done.append(target.name)
            return known(path, target)

        return call

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, counted(name))
    if isinstance(error, Killed):  # a process that is killed cleans nothing up
        monkeypatch.setattr(shutil, "rmtree", nothing)
    return done


def test_a_folder_is_written_and_renewed(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "folder"
    storage.write_folder(place, FILES)
    assert inside(place) == FILES
    assert is_whole(place)
    assert [path.name for path in place.parent.iterdir()] == ["folder"]
    storage.write_folder(place, NEW, kept=["b.txt"])
    assert inside(place) == {"a.txt": b"three", "b.txt": b"two"}
    assert is_whole(place)
    assert [path.name for path in place.parent.iterdir()] == ["folder"]


def test_neighbours_are_never_touched(tmp_path: Path) -> None:
    for end in ("part", "old"):
        (tmp_path / f".folder.{end}").mkdir()
        (tmp_path / f".folder.{end}" / "mine.txt").write_text("mine")
    for _ in range(2):
        storage.write_folder(tmp_path / "folder", FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".folder.old", ".folder.part", "folder"
    ]  # fmt: skip
    assert inside(tmp_path / ".folder.old") == inside(tmp_path / ".folder.part")
    assert inside(tmp_path / ".folder.old") == {"mine.txt": b"mine"}


def test_what_is_kept_may_change_or_be_a_link(tmp_path: Path) -> None:
    place = tmp_path / "folder"
    storage.write_folder(place, FILES, kept=["b.txt"])
    (place / "b.txt").write_text("mine")
    assert is_whole(place)
    (place / "b.txt").unlink()
    storage.write_folder(place, NEW, kept=["b.txt"])
    assert inside(place) == NEW
    (place / "b.txt").unlink()
    (place / "b.txt").symlink_to(tmp_path / "on a disk that is away")
    storage.write_folder(place, FILES, kept=["b.txt"])
    assert (place / "b.txt").is_symlink()


def sha256sum(folder: Path) -> tuple[int, str]:
    """What the program of that name says of a folder's checksums."""
    command = ["sha256sum", "--strict", "-c", storage.SUMS]
    said = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)  # noqa: S603
    return said.returncode, said.stdout


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum")
def test_sha256sum_reads_the_checksums(tmp_path: Path) -> None:
    storage.write_folder(tmp_path / "folder", FILES)
    assert sha256sum(tmp_path / "folder") == (0, "a.txt: OK\nb.txt: OK\n")
    (tmp_path / "folder" / "b.txt").write_text("other")
    assert sha256sum(tmp_path / "folder") == (1, "a.txt: OK\nb.txt: FAILED\n")


def test_a_process_killed_before_a_new_folder_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "folder"
    with monkeypatch.context() as patch:
        stop_at(patch, 0, Killed())
        with pytest.raises(Killed):
            storage.write_folder(place, FILES)
    assert not place.exists()
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]  # it was killed late enough
    storage.write_folder(place, FILES)
    assert inside(place) == FILES


@pytest.mark.parametrize("step", range(3))
def test_a_process_killed_while_a_folder_is_renewed(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "folder"
    kept = ["main.txt"]
    storage.write_folder(place, FILES | {"main.txt": b"skeleton"}, kept)
    (place / "main.txt").write_text("mine")
    with monkeypatch.context() as patch:
        done = stop_at(patch, step, Killed())
        with pytest.raises(Killed):
            storage.write_folder(place, NEW | {"main.txt": b"skeleton"}, kept)
    assert done == ["SHA256SUMS", "a.txt", "b.txt"][:step]
    assert is_whole(place) == (step == 0)
    for _ in range(2):  # a second call lost it once
        storage.write_folder(place, NEW | {"main.txt": b"skeleton"}, kept)
        assert inside(place) == NEW | {"main.txt": b"mine"}
        assert is_whole(place)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("step", range(4))
def test_a_process_killed_in_an_empty_folder(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, step, Killed())
        with pytest.raises(Killed):
            storage.write_folder(tmp_path, FILES)
    assert not (tmp_path / "b.txt").exists()
    storage.write_folder(tmp_path, FILES)
    assert inside(tmp_path) == FILES
    assert is_whole(tmp_path)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    said = r"cannot be written \(No space.*What was there before is still there\. Make room"
    (tmp_path / "empty").mkdir()
    storage.write_folder(tmp_path / "folder", FILES)
    monkeypatch.setattr("os.fsync", full)
    for name in ("folder", "empty", "new"):
        with pytest.raises(OSError, match=said):
            storage.write_folder(tmp_path / name, NEW)
    assert inside(tmp_path / "folder") == FILES
    assert is_whole(tmp_path / "folder")
    assert not list((tmp_path / "empty").iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "folder"]


def test_files_that_were_mixed_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "folder"
    storage.write_folder(place, FILES)
    with monkeypatch.context() as patch:
        stop_at(patch, 2, OSError(5, "Input/output error"))
        with pytest.raises(OSError, match=r"ones are mixed there now\. The disk has failed"):
            storage.write_folder(place, NEW)
    assert not is_whole(place)


def test_an_empty_folder_is_taken_and_never_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "folder"
    place.mkdir()
    place.chmod(0o750)
    before = place.stat()
    monkeypatch.chdir(place)
    for files in (FILES, NEW):
        storage.write_folder(Path(), files)
        assert inside(Path()) == inside(place) == files
        assert (place.stat().st_ino, place.stat().st_mode) == (before.st_ino, before.st_mode)


def test_a_working_directory_that_is_gone_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(OSError, match=r"cannot be written \(No such file.*or choose another path"):
        storage.write_folder(Path("folder"), FILES)


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for files in (FILES, NEW):
        storage.write_folder(tmp_path / "link", files)
        assert inside(tmp_path / "folder") == files
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("strange", ["c.txt", ".hidden", "a.txt", "a.txt/c.txt", "SHA256SUMS"])
def test_a_folder_that_was_not_written_so_is_left_alone(strange: str, tmp_path: Path) -> None:
    (tmp_path / "folder" / strange).parent.mkdir(parents=True)
    (tmp_path / "folder" / strange).write_text("mine")
    name = strange.partition("/")[0]
    with pytest.raises(ValueError, match=f"holds '{name}' and was not written so before"):
        storage.write_folder(tmp_path / "folder", FILES)
    assert (tmp_path / "folder" / strange).read_text() == "mine"
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [Path(strange).name]


def test_files_of_others_stay_in_a_folder_that_was(tmp_path: Path) -> None:
    storage.write_folder(tmp_path, FILES)
    (tmp_path / "main.o").write_bytes(b"compiled")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "x").write_bytes(b"compiled too")
    storage.write_folder(tmp_path, NEW)
    assert (tmp_path / "main.o").read_bytes() == b"compiled"
    assert (tmp_path / "build" / "x").read_bytes() == b"compiled too"
    assert {name: (tmp_path / name).read_bytes() for name in NEW} == NEW


def test_a_directory_in_the_place_of_a_file_is_said(tmp_path: Path) -> None:
    storage.write_folder(tmp_path, FILES)
    (tmp_path / "b.txt").unlink()
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(ValueError, match=r"b\.txt is no file and would be replaced: move it away"):
        storage.write_folder(tmp_path, NEW)
    assert (tmp_path / "a.txt").read_bytes() == b"one"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("mine")
    with pytest.raises(ValueError, match="is a file and cannot be replaced"):
        storage.write_folder(tmp_path / "folder", FILES)
    with pytest.raises(OSError, match=r"A part of the path is a file"):
        storage.write_folder(tmp_path / "folder" / "deeper", FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
