"""Records of long runs: kept one by one, and the committed tables are what they say."""

from __future__ import annotations

import importlib
import json
from functools import partial
from pathlib import Path

import pytest

from benchmarks import __main__ as listing
from benchmarks.common.records import SEEDS, Record, Records, add, every, make, read

ROOT = Path(__file__).resolve().parents[2]
ACCURACY = ROOT / "benchmarks" / "accuracy"
RECORDED = sorted(path.stem for path in ACCURACY.glob("*.jsonl"))


def lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_that_is_killed_loses_its_record_alone_and_goes_on(tmp_path: Path) -> None:
    path, made = tmp_path / "records.jsonl", []

    def work(net: str, seed: int, *, last: int) -> Record:
        if len(made) == last:
            raise KeyboardInterrupt
        made.append((net, seed))
        return {"accuracy": 0.1 + 0.2, "log": [len(made)]}

    with pytest.raises(KeyboardInterrupt):
        make(path, every(partial(work, last=3), (0, 1), net=("B", "A")))
    assert made == [("B", 0), ("A", 0), ("B", 1)]
    assert len(lines(path)) == 3
    make(path, every(partial(work, last=9), (0, 1), net=("B", "A")))
    assert made == [("B", 0), ("A", 0), ("B", 1), ("A", 1)]
    assert [(r["net"], r["seed"]) for r in lines(path)] == [("A", 0), ("A", 1), ("B", 0), ("B", 1)]
    assert list(lines(path)[0]) == ["net", "seed", "accuracy", "log"]
    assert [r["accuracy"] for r in lines(path)] == [0.1 + 0.2] * 4


def test_a_record_replaces_the_one_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    for value in (1, 2):
        add(path, {"net": "A", "seed": 0}, {"value": value})
    add(path, {"net": "A", "seed": 1}, {"value": 3})
    assert lines(path) == [
        {"net": "A", "seed": 0, "value": 2},
        {"net": "A", "seed": 1, "value": 3},
    ]
    assert read(path).values("value", net="A").tolist() == [2, 3]
    assert read(path, seeds=(1,)).values("value", net="A").tolist() == [3]
    assert read(tmp_path / "none.jsonl") == Records()


def test_what_is_hidden_is_kept_and_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(seed: int) -> Record:
        return {"fold 4": 50.0, "fold 5": 60.0 + seed}

    path = tmp_path / "records.jsonl"
    make(path, every(work, (0,)), hidden=("fold 5",))
    assert capsys.readouterr().out == "seed0 {'fold 4': 50.0}\n"
    assert lines(path) == [{"seed": 0, "fold 4": 50.0, "fold 5": 60.0}]


def test_every_script_is_listed_with_what_it_measures() -> None:
    found = dict(listing.commands())
    scripts = [p for p in (ROOT / "benchmarks").glob("*/*.py") if "__main__" in p.read_text()]
    names = {f"python -m benchmarks.{p.parent.name}.{p.stem}" for p in scripts}
    assert found.keys() == {name.removesuffix(".__main__") for name in names}
    assert len(found) >= 15
    assert all(found.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDED)
def test_the_committed_tables_are_what_the_records_say(name: str) -> None:
    script = importlib.import_module(f"benchmarks.accuracy.{name}")
    report = partial(script.report, test=True) if name == "objectives" else script.report
    seeds = script.SEEDS if name == "defaults" else SEEDS
    page, committed = (
        [line for line in text.splitlines() if line.startswith("|")]
        for text in (
            report(read(ACCURACY / f"{name}.jsonl", seeds)),
            (ACCURACY / f"{name}.md").read_text(),
        )
    )
    assert page == committed
