"""All that is public has a place in the documentation; every picture is drawn by its script."""

from __future__ import annotations

import re
import runpy
from inspect import signature
from types import FunctionType

import pytest

import compressor
from compressor import errors, importance
from compressor.phases import Phase
from tests.conftest import ROOT
from tests.helpers.pages import DOCS, pages
from tests.helpers.tiny import tiny

SHOWN = {
    name
    for page in pages()
    for name in re.findall(r"^::: ([\w.]+)$", page.read_text("utf-8"), re.MULTILINE)
}
PICTURES = ROOT / "docs" / "pictures"
MAKING = runpy.run_path(str(DOCS / "making" / "pictures.py"))
QUICK = ("rates", "prune", "filters", "half", "frequency")
"""Pictures for which nothing is trained."""


def test_all_that_is_public_is_in_the_reference() -> None:
    whole = {"importance", "rules"}  # modules, of which the reference names parts
    alone = set(compressor.__all__) - whole - set(vars(errors))
    assert {name for name in alone if f"compressor.{name}" not in SHOWN} == set()
    assert "compressor.errors" in SHOWN
    assert {"compressor.importance", "compressor.rules.Rule"} <= SHOWN


def test_every_phase_has_a_page_with_its_parts() -> None:
    public = [getattr(compressor, name) for name in compressor.__all__]
    phases = [one for one in public if isinstance(one, type) and issubclass(one, Phase)]
    assert len(phases) == 11
    table = (DOCS / "phases" / "index.md").read_text("utf-8")
    for phase in phases:
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", phase.__name__).lower()
        text = (DOCS / "phases" / f"{name}.md").read_text("utf-8")
        assert text.startswith(f"# {phase.__name__}\n")
        assert all(part in text for part in ("**What.**", "**When.**", "```python", "## Settings"))
        assert f"::: compressor.{phase.__name__}\n" in text
        assert f"[`{phase.__name__}`]({name}.md)" in table


def test_every_importance_is_in_the_table_with_what_it_needs() -> None:
    """An importance is what takes a graph and tensors first; those of weights need no evidence."""
    text = (DOCS / "adding-an-importance.md").read_text("utf-8")
    needs = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\w, ]+) \| [^|]+ \|$", text, re.MULTILINE))
    found = {
        name: function
        for name, function in vars(importance).items()
        if isinstance(function, FunctionType)
        and not name.startswith("_")
        and [*signature(function).parameters][:2] == ["graph", "tensors"]
    }
    assert found.keys() == needs.keys() >= {"fisher", "residual"}
    model = tiny()
    graph, tensors = compressor.trace(model), dict(model.named_parameters())
    for name, function in found.items():
        if needs[name] == "nothing":
            assert function(graph, tensors, ()).shape == (graph.units,)
        else:
            with pytest.raises(ValueError, match="is measured on"):
                function(graph, tensors, ())


def test_every_picture_has_a_function_and_a_page() -> None:
    drawn = {f"{name}.svg" for name in MAKING["DRAWN"]} | {"badges.svg", "report.png"}
    assert {path.name for path in PICTURES.iterdir()} == drawn
    texts = "".join(page.read_text("utf-8") for page in [*pages(), ROOT / "README.md"])
    assert {name for name in drawn if f"pictures/{name})" not in texts} == set()


def test_every_table_is_among_the_results() -> None:
    results = (DOCS / "results.md").read_text("utf-8")
    tables = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("benchmarks/*/*.md")]
    assert len(tables) > 20
    assert [name for name in tables if f"](../{name})" not in results] == []


def words(svg: bytes) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg.decode())


@pytest.mark.parametrize("name", QUICK)
def test_a_picture_says_what_its_function_draws_now(name: str) -> None:
    drawn = MAKING["svg"](*MAKING["DRAWN"][name])
    committed = (PICTURES / f"{name}.svg").read_bytes()
    assert len(words(committed)) >= 3
    assert words(drawn) == words(committed)


def test_the_badges_are_those_of_the_project() -> None:
    badges = (PICTURES / "badges.svg").read_text("utf-8")
    assert badges == MAKING["badges"]()
    assert "http://www.w3.org/2000/svg" in badges
    assert badges.count("http") == 1  # nothing is fetched
