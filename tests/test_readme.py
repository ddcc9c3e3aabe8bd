"""The README: short, and its code runs and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import compressor
from tests.conftest import ROOT
from tests.helpers.pages import README, alike, blocks, excerpt, python, run

TEXT = README.read_text("utf-8")


def test_the_block_prints_what_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m tests.helpers.pages` writes these lines anew where a report has changed."""
    monkeypatch.chdir(tmp_path)
    (block,) = python(README)
    scope: dict[str, object] = {}
    shown = excerpt(run(block, scope, README))
    assert block.printed == shown
    assert len(shown.splitlines()) == 6
    result, small = scope["result"], scope["small"]
    assert isinstance(result, compressor.Result)
    assert result.report.before.params > 20_000 >= result.report.after.params
    assert result.report.after.macs <= 15_000_000
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(small(x), result.network(x))  # type: ignore[operator]


def test_numbers_may_differ_and_words_may_not() -> None:
    assert alike("a 1,234 b 2.5e-3 torch 2.13.0+cpu") == alike("a 7 b 0.1 torch 2.14.0+cu")
    assert alike("12 parameters") != alike("12 weights")


def test_it_is_one_screen() -> None:
    assert len(TEXT.splitlines()) <= 150
    assert len(TEXT.split()) <= 900
    (block,) = python(README)
    assert len([line for line in block.code.splitlines() if line.strip()]) <= 10


def test_its_commands_are_in_the_makefile() -> None:
    (commands,) = (block.code for block in blocks(README) if block.language == "console")
    named = re.findall(r"^\$ make (\w+)", commands, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert named == ["demo", "test"]
    assert all(f"\n{name}:" in makefile for name in named)


def test_what_it_links_to_is_there() -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXT)
    assert len(targets) > 15
    assert [target for target in targets if not (ROOT / target).exists()] == []
    for target, place in re.findall(r"\]\(([^)#:]+\.md)#([^)]+)\)", TEXT):
        headings = re.findall(r"^#+ (.+)$", (ROOT / target).read_text("utf-8"), re.MULTILINE)
        assert place in {re.sub(r"[^\w-]", "", head.lower().replace(" ", "-")) for head in headings}
    named = {key for _, key in re.findall(r"\[([^\]]+)\]\[(\w+)\]", TEXT)}
    assert named == set(re.findall(r"^\[(\w+)\]: https://", TEXT, re.MULTILINE))


def test_the_table_beside_the_others_is_whole() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("|") and "bytes of" not in line]
    widths = {row.count("|") for row in rows if "parameters, MACs" in row or "widths" in row}
    assert widths == {9}
    bold = [row for row in rows if "**" in row]
    assert bold  # where the others win


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p.name != "CHANGELOG.md"],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"`((?:benchmarks|compressor|docs|models|recipes|tests)/[\w./]+)`", text)
    placeholders = {"compressor/x/y.py", "tests/x/test_y.py"}
    assert [name for name in named if not (ROOT / name).exists() and name not in placeholders] == []


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p.name != "CHANGELOG.md"],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_commands_that_a_page_names_are_there(page: Path) -> None:
    modules = re.findall(
        r"python\s+-m\s+((?:benchmarks|recipes)(?:\.\w+)*)", page.read_text("utf-8")
    )
    files = {name: ROOT / name.replace(".", "/") for name in modules}
    missing = [
        name
        for name, path in files.items()
        if not path.with_suffix(".py").exists() and not (path / "__main__.py").exists()
    ]
    assert missing == []
