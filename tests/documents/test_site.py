"""The documentation as a site: it builds strictly, and nothing on it leads nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.helpers.pages import DOCS, pages

pytestmark = pytest.mark.slow


class Links(HTMLParser):
    """What a page refers to, and the places on it that can be referred to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := found.get(key))}
        self.targets += [value for key in ("href", "src") if (value := found.get(key))]
        del tag


def built(site: Path) -> Iterator[Path]:
    return (page for page in site.rglob("*.html") if page.name != "404.html")


def test_every_page_is_there(site: Path) -> None:
    wanted = {page.relative_to(DOCS).with_suffix(".html") for page in pages()}
    assert wanted <= {page.relative_to(site) for page in built(site)}


def test_no_link_is_broken(site: Path) -> None:
    found = {page: Links(page) for page in built(site)}
    broken = []
    for page, links in found.items():
        for target in links.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            there = file.is_file() if file.suffix else (file / "index.html").is_file()
            anchored = not parts.fragment or file.suffix != ".html"
            if not there or not (anchored or unquote(parts.fragment) in found[file].anchors):
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """No script, style, font or picture of another host."""

    class Fetched(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            if tag in {"script", "img", "iframe"}:
                self.found.append(given.get("src") or "")
            if tag == "link" and given.get("rel") in {"stylesheet", "icon", "preload"}:
                self.found.append(given.get("href") or "")

    for page in built(site):
        parser = Fetched()
        parser.found = []
        parser.feed(page.read_text("utf-8"))
        assert [target for target in parser.found if urlsplit(target).netloc] == [], page
