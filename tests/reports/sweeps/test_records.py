"""Rows on the disk: whole lines count, others are made again or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compressor import ResumeError
from compressor.reports.sweeps import records


def test_rows_are_read_as_they_were_added(tmp_path: Path) -> None:
    assert records.read(tmp_path) == []
    rows = [{"budget": "", "method": "a", "seed": n, "why": "a\nb"} for n in range(3)]
    for row in rows:
        records.add(tmp_path, row)
    assert records.read(tmp_path) == rows


def test_a_last_line_that_was_not_finished_is_taken_away(tmp_path: Path) -> None:
    """At every byte where the writer may have been killed."""
    first, second = ({"budget": "", "method": "dense", "seed": seed} for seed in (0, 1))
    records.add(tmp_path, first)
    file = tmp_path / records.ROWS
    whole = file.read_bytes()
    for end in range(1, len(whole)):
        file.write_bytes(whole + whole[:end])
        assert records.read(tmp_path) == [first]
        records.add(tmp_path, second)
        assert records.read(tmp_path) == [first, second]


@pytest.mark.parametrize("line", [b"x", b"[1]", b"3", b"\xff", b'{"hello": 1}'])
def test_another_damaged_line_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / records.ROWS).write_bytes(line + b"\n")
    with pytest.raises(ResumeError, match=r"sweep.jsonl is damaged, or another program's: delete"):
        records.read(tmp_path)


def test_a_folder_belongs_to_one_sweep(tmp_path: Path) -> None:
    records.begin(tmp_path, {"network": "a", "lr": "1"})
    records.begin(tmp_path, {"network": "a", "lr": "1"})
    with pytest.raises(ResumeError, match="another network and epochs: make the same call"):
        records.begin(tmp_path, {"network": "b", "lr": "1", "epochs": 3})
    with pytest.raises(ResumeError) as caught:
        records.begin(tmp_path, {"network": "b", "lr": "1"})
    assert "weights" not in str(caught.value), "networks of other classes"
    said = json.loads((tmp_path / records.ABOUT).read_text())
    (tmp_path / records.ABOUT).write_text(json.dumps(said | {"lr": "2"}))
    with pytest.raises(ResumeError, match=r"cannot go on: .*damaged"):
        records.begin(tmp_path, {"network": "a", "lr": "2"})


@pytest.mark.parametrize("more", [{}, {"lr": "2"}])
def test_a_network_that_was_trained_again_is_told_of_its_weights(
    tmp_path: Path, more: dict[str, str]
) -> None:
    records.begin(tmp_path, {"network": "Sequential 01ab", "lr": "1"})
    match = r"both are a Sequential, its weights differ.*torch.manual_seed.*store them once.*load"
    with pytest.raises(ResumeError, match=match):
        records.begin(tmp_path, {"network": "Sequential 02cd", "lr": "1"} | more)
    with pytest.raises(ResumeError) as caught:
        records.begin(tmp_path, {"network": "Sequential 01ab", "lr": "2"})
    assert "weights" not in str(caught.value)
