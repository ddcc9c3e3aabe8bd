"""The page of the five folds says which records there are, and is that of the records."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.accuracy import folds
from benchmarks.accuracy.folds import report
from benchmarks.common.records import Records, read
from recipes.folds.settings import DENSE, FOLDS


def test_the_page_says_what_is_missing() -> None:
    assert "0 of 30 records. Missing: dense: folds 1, 2, 3, 4, 5;" in report(Records())
    record = {
        "accuracy": 80.0, "dense": 80.0, "clips": 400, "params": 1, "macs": 1, "bytes": 4,
        "CPU seconds": 5, "seed": 0, "stage": DENSE,
    }  # fmt: skip
    page = report(Records(tuple({**record, "fold": number} for number in FOLDS)))
    assert "5 of 30 records. Missing: dense, trained on: folds 1, 2, 3, 4, 5;" in page
    assert "| dense | 5 | 1 | 1 | 4 | 80.00 % |" in page


def test_the_committed_page_is_what_the_records_say() -> None:
    script = Path(folds.__file__)
    found = read(script.with_suffix(".jsonl"), folds.SEEDS)
    committed = script.with_suffix(".md").read_text("utf-8")
    # But for the versions of who wrote it, which end with the first sentence.
    assert committed.partition(". ")[2] == report(found).partition(". ")[2]


def test_missing_clips_end_the_command_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "esc50" / "meta").mkdir(parents=True)
    rows = ["filename,fold,target,category", *(f"{n}.wav,{n},0,dog" for n in FOLDS)]
    (tmp_path / "esc50" / "meta" / "esc50.csv").write_text("\n".join(rows))
    (tmp_path / "esc50" / "audio").mkdir()
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["folds", "--run"])
    with pytest.raises(SystemExit, match=r"5 of 5 clips|None of the 5 clips"):
        folds.main()
