"""`report` prints what was saved."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import compressor
from compressor.__main__ import main
from compressor.commands.words import named

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def report(here: Path) -> compressor.Report:
    """Of a result that was saved in `saved`."""
    sys.modules.pop("mine", None)
    result = compressor.fit(named("mine:Known")(), budget=compressor.Budget(params=700))
    result.report.save(here / "saved")
    return result.report


def test_a_folder_or_its_file_in_all_forms(report: compressor.Report, capsys: Capture) -> None:
    for place in ("saved", "saved/report.json"):
        assert main(["report", place]) == 0
        assert capsys.readouterr().out == f"{report}\n"
        assert main(["report", place, "--markdown"]) == 0
        assert capsys.readouterr().out == report.markdown()


def test_a_page_is_whole(report: compressor.Report, here: Path, capsys: Capture) -> None:
    assert main(["report", "saved", "--html", "page.html"]) == 0
    assert capsys.readouterr().out == "page.html\n"
    page = (here / "page.html").read_text("utf-8")
    opened: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            del attrs
            if tag != "meta":
                opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

    Tags().feed(page)
    assert not opened
    assert report.model in page
    assert "http" not in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none"], "none: No such file"),
        (["."], "holds no report.json: name a folder of `compressor fit` or Result.save"),
        (["saved/report.md"], "report.md is the report to read: name its folder, saved, or saved/"),
        (["going"], "going is that of a run which is not over: "),
        (["mine.py"], "mine.py: this is not the JSON of a report"),
        (["saved", "--html", "saved"], "is a directory and cannot be replaced"),
    ],
)
def test_what_is_no_report(
    report: compressor.Report, words: list[str], said: str, capsys: Capture
) -> None:
    del report
    Path("going/checkpoint").mkdir(parents=True)
    assert main(["report", *words]) == 2
    found = capsys.readouterr()
    assert not found.out
    assert found.err.startswith("compressor report: ")
    assert said in found.err
    assert found.err.count("\n") == 1
