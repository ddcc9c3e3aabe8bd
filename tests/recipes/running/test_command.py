"""Errors of a recipe's command end it with one sentence."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from compressor.errors import TrainingError
from recipes.running.command import Options, RunContext, one_sentence_errors, run


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("seed=-1: a seed is at least 0"), "seed=-1: a seed is at least 0"),
        (TrainingError("the loss\nis nan"), "the loss is nan"),
        (ValueError(), "ValueError"),
        (torch.OutOfMemoryError("No room\nfor it"), "cuda:1 is out of memory: No room. Try less"),
    ],
)
def test_an_error_ends_the_process_with_one_sentence(
    error: Exception, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, one_sentence_errors("cuda:1", ". Try less"):
        raise error
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"{sentence}\n"


def test_a_mistake_of_the_program_is_no_such_error() -> None:
    with pytest.raises(AttributeError), one_sentence_errors("cpu"):
        raise AttributeError


@dataclass(frozen=True, kw_only=True)
class Settings:
    seed: int = 0
    lists: str = ""


def added(parser: ArgumentParser) -> None:
    parser.add_argument("--parts", nargs="+", default=[])


def given(config: Settings, options: Namespace) -> Settings:
    del options
    return config


OWN = Options(added, given, lambda _: "toy")
Entered = list[RunContext[Settings]]


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> Entered:
    """Contexts that the recipe was given."""
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    return []


def enter(found: Entered, *words: object, ends: Exception | None = None) -> None:
    def main(context: RunContext[Settings]) -> None:
        found.append(context)
        if context.config.seed == 7:
            (context.folder.path / "log.txt").write_text("an epoch")
        if ends is not None:
            raise ends

    argv = ["toy", "--device", "cpu", *map(str, words)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        run("A toy.", "toy", Settings(), lambda config: config, main, own=OWN)


def test_settings_stand_before_and_after_options(tmp_path: Path, entered: Entered) -> None:
    out = ["--out", tmp_path / "run"]
    enter(entered, "seed=3", "--parts", "5", "10", *out, "lists=here")
    assert [context.config for context in entered] == [Settings(seed=3, lists="here")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "nowhere"], "There is no folder nowhere: --data is the data set's."),
        (["seed=1", "seed=2"], "seed=2: seed stands there twice"),
        (["--parts", "5", "--parts", "10"], "argument --parts: stands there twice"),
        (["--fast", "--threads", "0"], "argument --threads: '0' is no whole number from 1 on"),
    ],
)
def test_what_is_wrong_is_said_alone_and_leaves_no_folder(
    tmp_path: Path,
    entered: Entered,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        enter(entered, *words, "--paper", "--out", tmp_path / "a" / "run")
    found = capsys.readouterr()
    assert ended.value.code == 2
    assert said in found.err
    assert found.err.count("\n") == 1
    assert not found.out
    assert not entered
    assert not [*tmp_path.iterdir()]


def test_a_run_that_came_to_nothing_leaves_no_new_folder(tmp_path: Path, entered: Entered) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "made").mkdir()
    for out in ("a/run", "there", "made/run"):
        with pytest.raises(SystemExit):
            enter(entered, "--out", tmp_path / out, ends=ValueError("no list"))
    assert {path.name for path in tmp_path.iterdir()} == {"there", "made"}
    assert not [*(tmp_path / "made").iterdir()]
    with pytest.raises(SystemExit):
        enter(entered, "seed=7", "--out", tmp_path / "a" / "run", ends=ValueError("NaN"))
    assert (tmp_path / "a" / "run" / "log.txt").is_file(), "what was made stays"
    enter(entered, "--out", tmp_path / "b" / "run")
    assert (tmp_path / "b" / "run").is_dir()
