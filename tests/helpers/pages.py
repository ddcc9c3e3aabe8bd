"""The pages of the documentation: their blocks of code, run as a reader would, and what they print.

python -m tests.helpers.pages  # writes what blocks print now into the pages and the README
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch

from compressor.__main__ import main as command
from compressor.storage import write_bytes
from tests.conftest import ROOT

DOCS = ROOT / "docs"
START = DOCS / "index.md"
README = ROOT / "README.md"
BLOCK = re.compile(
    r"""^```(\w+)(?: title="([\w.]+)")?[^\n]*\n(.*?)^```$""", re.DOTALL | re.MULTILINE
)
SHOWN = 6
"""Lines of a report that a page shows at most."""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: What it is written in.
        code: Its lines.
        printed: What the page says that it prints, the text block right after it, or None.
        file: The file whose content it is; empty where it is none.
    """

    language: str
    code: str
    printed: str | None = None
    file: str = ""


def pages() -> list[Path]:
    """Every page of docs/."""
    return sorted(DOCS.rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    found = list(BLOCK.finditer(page.read_text("utf-8")))
    follows = {a: b for a, b in pairwise(found) if _together(a, b)}
    return [Block(a[1], a[3], follows[a][3] if a in follows else None, a[2] or "") for a in found]


def _together(first: re.Match[str], second: re.Match[str]) -> bool:
    between = first.string[first.end() : second.start()]
    return first[1] in ("python", "console") and second[1] == "text" and not between.strip()


def python(page: Path) -> Iterator[Block]:
    """Its blocks of Python."""
    return (block for block in blocks(page) if block.language == "python")


def runs(page: Path) -> Iterator[Block]:
    """Its blocks of Python, and those of this library's commands."""
    return (block for block in blocks(page) if block.language == "python" or _commands(block))


def _commands(block: Block) -> list[str]:
    """The commands of a block that has none but this library's."""
    lines = block.code.splitlines() if block.language == "console" else []
    ours = [line[len(PROMPT) :] for line in lines if line.startswith(PROMPT)]
    return ours if len(ours) == len(lines) else []


PROMPT = "$ compressor "


def beginning() -> dict[str, object]:
    """What every page may use: the data and the network that the first page begins with."""
    scope: dict[str, object] = {}
    run(next(python(START)), scope, START)
    return scope


def run(block: Block, scope: dict[str, object], page: Path) -> str:
    """What a block prints; one that is a file's content becomes that file."""
    if block.file:
        Path(block.file).write_text(block.code, "utf-8")
        return ""
    if block.language == "console":
        return "".join(map(_said, _commands(block)))
    out = io.StringIO()
    torch.manual_seed(0)
    with contextlib.redirect_stdout(out):
        exec(compile(block.code, page.name, "exec"), scope)  # noqa: S102 - our own document
    return out.getvalue()


def _said(words: str) -> str:
    """What a command prints, and why it ends where that is not well."""
    out, errors, path = io.StringIO(), io.StringIO(), [*sys.path]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = command(shlex.split(words))
    sys.path[:] = path
    for file in Path.cwd().glob("*.py"):  # another page may have one of that name
        sys.modules.pop(file.stem, None)
    return out.getvalue() + (errors.getvalue().splitlines()[-1] + "\n" if code else "")


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
    for block in runs(page):
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
