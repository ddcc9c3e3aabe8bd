"""A table for people: on a terminal, in Markdown, in HTML, in LaTeX."""

from __future__ import annotations

import html
import io
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDEST, NARROWEST = 110, 60
"""Columns of tables on a terminal, at most and at least; where there is none, the most."""

LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"}, "[": "{[}", "*": "{*}",
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "±": r"$\pm$", "·": r"$\cdot$",
    "≤": r"$\le$",
}  # fmt: skip
"""What stands in LaTeX for characters that are commands there, at the begin of a row too, or no
letters of its fonts."""


@dataclass(frozen=True)
class Grid:
    """A table: a title, names of its columns, and rows of cells; numbers go to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown, without its title."""
        rule: Sequence[str] = ["---", *["---:"] * (len(self.columns) - 1)]
        return "\n".join([_piped(self.columns), _piped(rule), *map(_piped, self.rows)])

    def latex(self) -> str:
        """The table in LaTeX, without its title: a ``tabular`` of the package ``booktabs``."""
        head, *rows = map(_tabbed, (self.columns, *self.rows))
        sides = "l" + "r" * (len(self.columns) - 1)
        lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule", *rows]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])

    def html(self) -> str:
        """The table in HTML, without its title."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table><tr>{head}</tr>{body}</table>"

    def drawn(self, style: box.Box) -> Table:
        """The table for a terminal."""
        table = Table(title=Text(self.title), box=style, title_justify="left", title_style="")
        for number, name in enumerate(self.columns):
            side = "left" if number == 0 else "right"
            table.add_column(Text(name), justify=side, overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))  # names of modules are no markup
        return table


def text(first: str, grids: Iterable[Grid], last: Iterable[str]) -> str:
    """A sentence, tables and lines for a terminal; plain ASCII if standard output is none."""
    plain = not sys.stdout.isatty()
    columns = WIDEST if plain else shutil.get_terminal_size().columns
    width = min(max(columns, NARROWEST), WIDEST)
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, safe_box=plain)
    for line in [first] if first else []:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for grid in grids:
        console.print()
        console.print(grid.drawn(box.ASCII2 if plain else box.ROUNDED))
    for number, line in enumerate(last):
        if number == 0:
            console.print()
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).lstrip("\n")


def _piped(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_plain, cells)) + " |"


def _plain(cell: str) -> str:
    """A cell in one line of Markdown, in which nothing is markup."""
    return " ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;")


def _tabbed(cells: Iterable[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(cell: str) -> str:
    """A cell in one line of LaTeX, in which nothing is a command."""
    line = " ".join(cell.split()).replace("<=", "≤")
    return "".join(LATEX.get(character, character) for character in line)
