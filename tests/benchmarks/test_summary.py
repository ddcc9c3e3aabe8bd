"""The summary takes networks that have learned, and says no more than their records do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy.cost_picture import draw
from benchmarks.accuracy.papers import CONTROL, DENSE, RECIPE
from benchmarks.accuracy.summary import FOLDER, INT8, WIDTH, Cost, Found, advice, costs, report
from benchmarks.common.records import Record
from recipes.folds.settings import CONTROL as FOLDS_CONTROL


def written(folder: Path, table: str, *records: Record) -> Found:
    lines = [json.dumps({"seed": 0, **record}) + "\n" for record in records]
    (folder / f"{table}.jsonl").write_text("".join(lines))
    return Found(folder)


def claim(road: str, size: int, **stages: float) -> Record:
    levels: dict[str, Any] = {
        stage: dict.fromkeys(("train", "validation", "a"), value) for stage, value in stages.items()
    }
    return {
        "ground": "ESC-50", "net": "Shared-ResNet", "road": road, "accuracy": levels, "bytes": size,
    }  # fmt: skip


@pytest.mark.parametrize(("gain", "there"), [(0.4, 1), (0.6, 0)])
def test_a_network_is_in_if_it_has_learned(gain: float, there: int, tmp_path: Path) -> None:
    found = written(
        tmp_path, "claims",
        claim(DENSE, 400, dense=80.0), claim(CONTROL, 400, dense=80.0, result=80.0 + gain),
        claim(RECIPE, 80, dense=80.0, result=78.5),
    )  # fmt: skip
    every = costs(found)
    assert len(every) == there
    for one in every:
        assert one.left == 0.2
        assert one.drops == (1.5,)


def pitch(share: str, way: str, params: int, level: float) -> Record:
    levels = dict.fromkeys(("clean", "noisy", "int8 clean", "int8 noisy"), level)
    return {"network": "tiny", "share": share, "way": way, "params": params, **levels}


def test_what_learned_from_tones_is_held_against_the_dense_network_that_did_too(
    tmp_path: Path,
) -> None:
    found = written(
        tmp_path, "pitch", pitch("1", "dense", 100, 90.0), pitch("1", "ten epochs", 100, 97.0),
        pitch("1/2", "ten epochs", 50, 96.0),
    )  # fmt: skip
    by = {one.mechanism: one for one in costs(found)}
    assert by[WIDTH].drops == (1.0,)
    assert by[INT8].drops == (0.0,)


def fold(stage: str, accuracy: float, size: int = 100) -> Record:
    return {"stage": stage, "fold": 1, "accuracy": accuracy, "dense": 80.0, "bytes": size}


def test_folds_count_if_their_control_gains_little(tmp_path: Path) -> None:
    small = fold("128k, 30M", 79.0, 25)
    found = written(tmp_path, "folds", fold(DENSE, 80.0), fold(FOLDS_CONTROL, 80.2), small)
    assert [(one.left, one.drops) for one in costs(found)] == [(0.25, (1.0,))]
    found = written(tmp_path, "folds", fold(DENSE, 80.0), fold(FOLDS_CONTROL, 81.0), small)
    assert not costs(found)


def test_advice_needs_two_networks() -> None:
    one, two = (Cost(INT8, name, 0.25, (drop,), "x") for name, drop in (("A", 0.1), ("B", 0.7)))
    assert advice([one]) == "Of fewer than 2 networks, so no advice: int8 alone."
    both = "+0.1 points at the least (A, 25% of the bytes) and +0.7 at the most (B, 25%)"
    assert both in advice([one, two])
    same = Cost(INT8, "A", 0.2, (5.0,), "x")
    assert "no advice" in advice([one, same])


def test_the_committed_page_is_what_the_records_say() -> None:
    assert (FOLDER / "summary.md").read_text("utf-8") == report(Found())


def test_a_picture_is_drawn_of_any_mechanisms() -> None:
    points = [(f"way {n}", 0.5 / (n + 1), float(n)) for n in range(9)]
    assert draw(points).startswith(b"\x89PNG")
    assert draw([]).startswith(b"\x89PNG")
