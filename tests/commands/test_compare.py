"""`compare` puts saved reports side by side."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

import compressor
from compressor.__main__ import main
from compressor.commands.words import named

Capture = pytest.CaptureFixture[str]


def test_a_line_each(here: Path, capsys: Capture) -> None:
    found: dict[str, compressor.Report] = {}
    for cap in (700, 500):
        result = compressor.fit(named("mine:made"), budget=compressor.Budget(params=cap))
        result.report.save(here / str(cap))
        found[str(cap)] = result.report
    wanted = compressor.compare(found)
    assert main(["compare", "700", "500"]) == 0
    assert capsys.readouterr().out == f"{wanted}\n"
    assert main(["compare", "700", "500", "--markdown"]) == 0
    assert capsys.readouterr().out == wanted.markdown()
    assert main(["compare", "700", "500", "--csv"]) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert table["name"].tolist() == [700, 500]
    assert table["params_after"].tolist() == [r.after.params for r in found.values()]


def test_one_that_cannot_be_read_stops_it(here: Path, capsys: Capture) -> None:
    (here / "report.json").write_text("[]")
    assert main(["compare", "report.json"]) == 2
    assert "compressor compare: report.json: this is not the JSON" in capsys.readouterr().err
