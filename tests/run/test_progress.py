"""The bar counts what there is to count, and no hundred of something."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from compressor import Budget, Int8, Joint, fit
from compressor.run import progress
from tests.helpers.tiny import loader, tiny


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal that remembers all that it showed."""
    written = io.StringIO()

    def console(*, stderr: bool) -> Console:
        assert stderr
        return Console(file=written, force_terminal=True, width=120, color_system=None)

    monkeypatch.setattr(progress, "Console", console)
    return written


def test_unknown_totals_show_no_count(screen: io.StringIO) -> None:
    with progress.Bar(enabled=True) as bar:
        bar.begin("Trace", None)
        bar._progress.refresh()
        assert "Trace" in screen.getvalue()
        assert "/" not in screen.getvalue()
        bar.begin("FineTune 1/2", 7)
        bar.advance("loss 1.000")
        bar._progress.refresh()
        assert re.search(r"1/7 .*loss 1\.000", screen.getvalue())
        bar.begin("Prune", None)
        bar._progress.refresh()
        assert "/" not in screen.getvalue().splitlines()[-1].partition("Prune")[2]


@pytest.mark.slow
def test_joint_counts_its_mixes(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    advance = progress.Bar.advance

    def counted(bar: progress.Bar, note: str = "") -> None:
        advance(bar, note)
        task = bar._progress.tasks[0]
        if task.description == "Joint":
            counts.append(int(task.completed))
            assert task.total == 4

    monkeypatch.setattr(progress.Bar, "advance", counted)
    fit(
        tiny(), loader(64), budget=Budget(bytes=6000), progress=True, verify=False,
        schedule=[Joint(averages=(8.0, 4.0)), Int8(epochs=0)],
    )  # fmt: skip
    assert counts == [1, 2, 3, 4]
    assert "Joint" in screen.getvalue()
