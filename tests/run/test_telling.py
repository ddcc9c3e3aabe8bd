"""What a run says: lines through logging, and what a library may set of that."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from compressor import Budget, FineTune, Prune, fit
from compressor.importance import frobenius
from compressor.run import telling
from compressor.run.history import Epoch, Step
from compressor.run.telling import LOGGER, Told, printed, span
from tests.conftest import ROOT
from tests.helpers.tiny import loader, refuses, tiny

ONCE = Prune(method="uniform", importance=frobenius, repair=False, fold=False)


def run(**options: object) -> None:
    fit(
        tiny(), loader(64), budget=Budget(params=700), verify=False,
        schedule=[ONCE, FineTune(epochs=2, lr=1e-2)], **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_one_line_a_phase_and_an_epoch(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "compressor"):
        run(val=lambda _: 0.625, progress=False)
    lines = [record.getMessage() for record in caplog.records if record.name == "compressor"]
    assert lines[:3] == ["Trace Tiny", "[1/2] Prune", "[2/2] FineTune, 2 epochs"]
    assert "[2/2] FineTune 1/2: loss" in lines[3]
    assert "val 0.625, " in lines[3]
    assert lines[3].endswith(" left")
    assert "[2/2] FineTune 2/2: loss" in lines[4]
    assert "left" not in lines[4]
    assert lines[5].startswith("Done in")
    assert "parameters" in lines[5]
    assert len(lines) == 6


def test_a_long_comparison_says_how_far_it_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "PATIENCE", 0.0)
    with caplog.at_level(logging.INFO, "compressor"):
        result = fit(
            tiny(), loader(64), budget=Budget(params=700), verify=False, schedule=[Prune()],
            progress=False,
        )  # fmt: skip
    lines = [line for line in caplog.messages if line.startswith("Compared")]
    (shrink,) = result.report.shrinks
    structures = len({round(loss, 9) for loss in shrink.tried.values()})
    assert len(lines) == structures - 1 > 1
    assert lines[0].startswith(f"Compared 1 of {structures} structures: loss after repair ")
    assert lines[0].endswith(" left")


def test_lines_are_printed_where_nobody_set_logging_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    run()
    found = capsys.readouterr()
    assert "[2/2] FineTune 2/2: loss" in found.err
    assert found.out == ""
    run(progress=False)
    assert capsys.readouterr().err == ""
    with pytest.raises(ZeroDivisionError):
        run(on_epoch=lambda _: 1 / 0)
    assert not LOGGER.handlers
    assert LOGGER.level == logging.NOTSET


def test_what_was_set_up_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program that wants no more than warnings gets none of the lines."""
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    with printed(shown=True):
        assert not LOGGER.handlers
        Told([3]).phase(0, "FineTune")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(LOGGER, "level", logging.INFO)
    LOGGER.manager._clear_cache()  # type: ignore[attr-defined]
    with printed(shown=True):
        Told([3]).phase(0, "FineTune")
    assert capsys.readouterr().err == "[1/1] FineTune, 3 epochs\n"
    LOGGER.manager._clear_cache()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_script_under_nohup_says_what_goes_on() -> None:
    code = "from tests.run.test_telling import run; run()"
    done = subprocess.run(  # noqa: S603 - our own line
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert [line.split(maxsplit=1)[1] for line in done.stderr.splitlines()[:2]] == [
        "Trace Tiny", "[1/2] Prune",
    ]  # fmt: skip


def test_the_time_that_is_left_counts_the_phases_to_come() -> None:
    told = Told([0, 4, 3])
    told.phase(1, "FineTune")
    told.epoch(Epoch("FineTune", 1, 0.5, None, 10.0), 4)
    told.epoch(Epoch("FineTune", 2, 0.5, None, 20.0), 4)
    assert told.left(2, 4) == 15.0 * (2 + 3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.04 s"), (9.4, "9.4 s"), (12.3, "12 s"), (99.7, "2 min"), (7200, "2.0 h")],
)
def test_times_as_people_say_them(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_every_step_is_told_of() -> None:
    steps: list[Step] = []
    run(on_step=steps.append, progress=False)
    assert [(s.phase, s.epoch, s.step, s.number) for s in steps] == [
        ("FineTune", 1, 1, 1), ("FineTune", 1, 2, 2), ("FineTune", 2, 1, 3), ("FineTune", 2, 2, 4),
    ]  # fmt: skip
    rates = [step.lr for step in steps]
    assert all(0 < lr <= 1e-2 for lr in rates if lr is not None)
    assert rates[1] != rates[2]
    with refuses("on_step=3 is a int: pass a function of the step"):
        run(on_step=3)
    with refuses("does not take one argument, and fit calls it with the step alone"):
        run(on_step=lambda: None)
