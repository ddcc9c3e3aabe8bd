"""Rows on the disk: whole lines count, others are made again or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor import ResumeError
from compressor.reports.sweeps import records


def test_rows_are_read_as_they_were_added(tmp_path: Path) -> None:
    assert records.read(tmp_path) == []
    rows = [{"seed": n, "why": "a\nb"} for n in range(3)]
    for row in rows:
        records.add(tmp_path, row)
    assert records.read(tmp_path) == rows


def test_a_last_line_that_was_not_finished_is_taken_away(tmp_path: Path) -> None:
    """At every byte where the writer may have been killed."""
    records.add(tmp_path, {"seed": 0})
    file = tmp_path / records.ROWS
    whole = file.read_bytes()
    for end in range(1, len(whole)):
        file.write_bytes(whole + whole[:end])
        assert records.read(tmp_path) == [{"seed": 0}]
        records.add(tmp_path, {"seed": 1})
        assert records.read(tmp_path) == [{"seed": 0}, {"seed": 1}]


@pytest.mark.parametrize("line", [b"x", b"[1]", b"3", b"\xff"])
def test_another_damaged_line_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / records.ROWS).write_bytes(line + b'\n{"seed": 0}\n')
    with pytest.raises(ResumeError, match=r"sweep.jsonl is damaged: delete"):
        records.read(tmp_path)


def test_a_folder_belongs_to_one_sweep(tmp_path: Path) -> None:
    records.begin(tmp_path, {"network": "a", "lr": "1"})
    records.begin(tmp_path, {"network": "a", "lr": "1"})
    with pytest.raises(ResumeError, match="another network and epochs: make the same call"):
        records.begin(tmp_path, {"network": "b", "lr": "1", "epochs": 3})
    said = json.loads((tmp_path / records.ABOUT).read_text())
    (tmp_path / records.ABOUT).write_text(json.dumps(said | {"lr": "2"}))
    with pytest.raises(ResumeError, match=r"cannot go on: .*damaged"):
        records.begin(tmp_path, {"network": "a", "lr": "2"})
