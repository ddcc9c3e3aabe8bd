"""One changed digit in a JSON file that a run reads again is found, and the file is named."""

from __future__ import annotations

import json
import re
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


def inside(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_is_written_and_replaced_whole(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "folder"
    storage.write_folder(place, FILES)
    assert inside(place) == FILES
    (tmp_path / "deep" / ".folder.part").mkdir()  # of a process that was killed
    (tmp_path / "deep" / ".folder.part" / "c.txt").write_text("half")
    (tmp_path / "deep" / ".folder.old").mkdir()
    storage.write_folder(place, {"a.txt": b"three", "b.txt": b"four"}, kept=["b.txt"])
    assert inside(place) == {"a.txt": b"three", "b.txt": b"two"}
    assert [path.name for path in place.parent.iterdir()] == ["folder"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    storage.write_folder(tmp_path / "folder", FILES)
    assert inside(tmp_path / "folder") == FILES


@pytest.mark.parametrize("strange", ["c.txt", ".hidden", "a.txt/c.txt"])
def test_a_folder_with_anything_else_is_left_alone(strange: str, tmp_path: Path) -> None:
    (tmp_path / "folder" / strange).parent.mkdir(parents=True)
    (tmp_path / "folder" / strange).write_text("mine")
    name = strange.partition("/")[0]
    with pytest.raises(ValueError, match=f"holds '{name}', which would be lost"):
        storage.write_folder(tmp_path / "folder", FILES)
    assert (tmp_path / "folder" / strange).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("mine")
    with pytest.raises(ValueError, match="is a file and cannot be replaced"):
        storage.write_folder(tmp_path / "folder", FILES)
    with pytest.raises(OSError, match=r"A part of the path is a file"):
        storage.write_folder(tmp_path / "folder" / "deeper", FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "folder"
    storage.write_folder(place, FILES)
    rename = Path.rename

    def fails(path: Path, target: Path) -> Path:
        if path.name.endswith(".part"):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match=r"What was there before is still there\. Make room"):
        storage.write_folder(place, {"a.txt": b"new"} | {"b.txt": b"new"})
    assert inside(place) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
