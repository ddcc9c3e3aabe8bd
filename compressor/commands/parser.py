"""A parser of command lines that refuses words in one line, and an option that is given twice."""

from __future__ import annotations

from argparse import Action, ArgumentError, ArgumentParser, Namespace
from typing import Any, NoReturn

GIVEN = "options given"
"""Where the options that were given are written down while words are parsed."""


class Once(Action):
    """Store what an option says; one that is given twice would lose what it said first."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store the values, or refuse them (ArgumentError)."""
        del parser
        given: set[str] = vars(namespace).setdefault(GIVEN, set())
        if option_string and self.dest in given:
            several = self.nargs in {"+", "*"}
            advice = "write all after the first" if several else "leave one out"
            raise ArgumentError(self, f"stands there twice: {advice}")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(ArgumentParser):
    """A parser whose options that store what they are given take it once."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Arguments as of `argparse.ArgumentParser`."""
        super().__init__(*args, **settings)
        for action in (None, "store"):
            self.register("action", action, Once)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and leave with code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")
