"""A folder belongs to one run: settings, data, log."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from compressor import Budget
from recipes.running.run_folder import RunFolder, plain, versions


def halved(rate: float) -> float:
    return rate / 2


@dataclass(frozen=True, kw_only=True)
class Part:
    lr: float = 0.1
    steps: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Config:
    seed: int = 0
    name: str | None = None
    part: Part = field(default_factory=Part)
    rule: object = halved


@dataclass(frozen=True)
class Wide:
    values: dict[str, int]


def test_a_run_finds_its_own_folder_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(Config(), "data")
    before = (tmp_path / "run" / "config.json").read_bytes()
    folder.begin(Config(), "data")
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    said = json.loads(before)
    assert said["config"]["part"] == {"lr": 0.1, "steps": [1, 2]}
    assert said["config"]["rule"] == "halved"
    assert said["versions"]["torch"] == versions()["torch"]


@pytest.mark.parametrize(
    ("config", "data", "match"),
    [
        (Config(seed=1), "data", "config.seed 0 -> 1"),
        (Config(part=Part(lr=0.2)), "data", r"config.part.lr 0.1 -> 0.2"),
        (Config(part=Part(steps=(1,))), "data", r"config.part.steps \[1, 2\] -> \[1\]"),
        (Config(name="x"), "data", "config.name None -> 'x'"),
        (Config(rule=abs), "data", "config.rule 'halved' -> 'abs'"),
        (Config(), "other", "data 'data' -> 'other'"),
    ],
)
def test_a_run_of_other_settings_or_data_is_refused(
    tmp_path: Path, config: Config, data: str, match: str
) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(Config(), "data")
    with pytest.raises(ValueError, match=rf"belongs to another run: {match}\. Name another"):
        folder.begin(config, data)


def test_of_many_differences_some_are_named_and_the_others_counted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(Wide({f"k{n:02}": 0 for n in range(12)}), "data")
    with pytest.raises(ValueError, match=r"k07 0 -> 1 and 4 more"):
        folder.begin(Wide({f"k{n:02}": 1 for n in range(12)}), "data")


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"config": {}}', "\xff", "[" * 100_000])
def test_a_damaged_record_of_settings_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, "latin-1")
    with pytest.raises(ValueError, match=r"config.json cannot be read .*delete this file alone"):
        RunFolder(tmp_path).begin(Config(), "data")


def test_a_run_of_another_precision_is_another_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.begin(Config(), "data", precision="32")
    folder.begin(Config(), "data", precision="32")
    with pytest.raises(ValueError, match="precision '32' -> 'bf16'"):
        folder.begin(Config(), "data", precision="bf16")


def test_several_networks_have_a_folder_each(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.member(0, 1) == folder
    members = [folder.member(k, 3) for k in range(3)]
    assert len({member.checkpoint for member in members}) == 3
    assert all(member.stages.is_relative_to(tmp_path) for member in members)


def test_settings_become_plain_data_that_json_keeps() -> None:
    said = plain(replace(Config(), part=Part(steps=(3, 4))))
    assert json.loads(json.dumps(said)) == said
    shares = [plain(Budget(macs=text)) for text in ("50%", "25%", "50% of 200")]
    assert [one["macs"] for one in shares] == ["50%", "25%", "50% of 200"]
    assert plain({1: (2, {"a": Part()})}) == {"1": [2, {"a": {"lr": 0.1, "steps": [1, 2]}}]}
