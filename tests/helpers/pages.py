"""The pages of the documentation: their blocks of code, run as a reader would, and what they print.

python -m tests.helpers.pages  # writes what blocks print now into the pages and the README
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from compressor.storage import write_bytes
from tests.conftest import ROOT

DOCS = ROOT / "docs"
START = DOCS / "index.md"
README = ROOT / "README.md"
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = 6
"""Lines of a report that a page shows at most."""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: What it is written in.
        code: Its lines.
        printed: What the page says that it prints, the text block right after it, or None.
    """

    language: str
    code: str
    printed: str | None = None


def pages() -> list[Path]:
    """Every page of docs/."""
    return sorted(DOCS.rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    found = list(BLOCK.finditer(page.read_text("utf-8")))
    follows = {a: b for a, b in pairwise(found) if _together(a, b)}
    return [Block(a[1], a[2], follows[a][2] if a in follows else None) for a in found]


def _together(first: re.Match[str], second: re.Match[str]) -> bool:
    between = first.string[first.end() : second.start()]
    return first[1] == "python" and second[1] == "text" and not between.strip()


def python(page: Path) -> Iterator[Block]:
    """Its blocks of Python."""
    return (block for block in blocks(page) if block.language == "python")


def beginning() -> dict[str, object]:
    """What every page may use: the data and the network that the first page begins with."""
    scope: dict[str, object] = {}
    run(next(python(START)), scope, START)
    return scope


def run(block: Block, scope: dict[str, object], page: Path) -> str:
    """What a block prints."""
    out = io.StringIO()
    torch.manual_seed(0)
    with contextlib.redirect_stdout(out):
        exec(compile(block.code, page.name, "exec"), scope)  # noqa: S102 - our own document
    return out.getvalue()


def alike(text: str) -> list[str]:
    """The words of a text, of whose numbers it is only known that they are some.

    What a training comes to differs in its last bits from one kind of processor to another.
    """
    return re.sub(r"\d[\d.,]*(e[-+]\d+|\+\w+)?", "#", text).split()


def excerpt(report: str) -> str:
    """The first lines of a report, without the borders of its tables and their titles."""
    lines = report.splitlines()
    shown = [line for line in lines if not line.startswith("+") and len(line.split()) > 1]
    return "\n".join(shown[:SHOWN]) + "\n"


def renew(page: Path) -> None:
    """Write what the blocks of a page print after them, where it says what they print."""
    text = page.read_text("utf-8")
    scope: dict[str, object] = {} if page in (START, README) else beginning()
    for block in python(page):
        printed = run(block, scope, page)
        if block.printed is not None:
            now = excerpt(printed) if page == README else printed
            text = text.replace(f"```text\n{block.printed}```", f"```text\n{now}```", 1)
    if text != page.read_text("utf-8"):
        write_bytes(page, text.encode())
        print(page.relative_to(ROOT))  # noqa: T201 - a command


def main() -> None:
    """Renew all pages."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for page in [README, *pages()]:
            if any(block.printed is not None for block in blocks(page)):
                renew(page)


if __name__ == "__main__":
    main()
