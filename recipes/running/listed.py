"""A recipe's settings, listed: what each is, and what it is unless it is changed."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from recipes.running.overrides import parts

WIDE = 100
"""Columns of a line, at most; a meaning that is longer is cut."""

ATTRIBUTE = re.compile(r"^ {4}(\w+): +(.*(?:\n {8,}.*)*)", re.MULTILINE)
"""An attribute in a docstring, with what is said of it."""


class Listing(argparse.Action):
    """An option that lists all settings and ends, as ``--help`` does.

    Args:
        option_strings: As of `argparse.Action`, as are all but the last.
        dest: Not used.
        config: The settings.
    """

    def __init__(
        self, option_strings: Sequence[str], dest: str, *, config: object, **more: Any
    ) -> None:
        """Take no value."""
        del dest
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **more)
        self._config = config

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        """Print, and end with code 0."""
        print("\n".join(lines(self._config)))
        parser.exit()


def lines(config: object) -> Iterator[str]:
    """A heading for every part of some settings, and a line for each of these."""
    for before, part, names in parts(config):
        if not names:
            continue
        meant = meanings(type(part))
        summary = first_sentence(inspect.getdoc(type(part)) or "")
        yield _cut(f"{before.rstrip('.') or 'all'}: {type(part).__name__}, {summary}")
        texts = {name: f"  {before}{name}={_written(getattr(part, name))}" for name in names}
        width = min(max(map(len, texts.values())), WIDE // 2)
        for name, text in texts.items():
            yield _cut(f"{text:<{width}}  {meant.get(name, '')}").rstrip()
        yield ""


def meanings(kind: type) -> dict[str, str]:
    """What docstrings of a class, and of those it is made of, say of its attributes."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        said = inspect.cleandoc(vars(one).get("__doc__") or "")
        inside = said.partition("\nAttributes:\n")[2]
        found |= {name: first_sentence(text) for name, text in ATTRIBUTE.findall(inside)}
    return found


def first_sentence(text: str) -> str:
    """The first sentence of a text, in one line and without a full stop."""
    flat = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=\w)[.;] (?=[A-Z`])|\.$", flat)[0]


def _written(value: object) -> str:
    """A value as it is written on a command line."""
    words: dict[type, Callable[[Any], str]] = {
        bool: lambda v: str(v).lower(),
        type(None): lambda _: "none",
        tuple: lambda v: ",".join(map(str, v)) or "()",
    }
    return words.get(type(value), str)(value)


def _cut(line: str) -> str:
    return line if len(line) <= WIDE else f"{line[: WIDE - 3].rstrip()}..."
