"""What words of a command line name: something in a module, ``package.module:Name``; settings."""

from __future__ import annotations

import ast
import importlib
import sys
import traceback
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from compressor.wording import line

T = TypeVar("T")


def read_as(read: Callable[[str], T]) -> Callable[[str], T]:
    """A reader for argparse, which tells the user what it says against a word."""

    def reader(word: str) -> T:
        try:
            return read(word)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error

    return reader


def named(word: str) -> Any:
    """What ``package.module:Name`` names; modules are looked for in this folder first.

    Raises:
        ValueError: If it is no such word, the module cannot be imported, or has no such name.
    """
    module, _, path = word.partition(":")
    if not module or not path:
        raise ValueError(
            f"{word!r} is neither a file that is there nor something in a module: write "
            "package.module:Name, such as net:Net for Net in net.py"
        )
    found: Any = _module(word, module)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            near = get_close_matches(name, dir(found), n=3)
            other = f"did you mean {' or '.join(near)}?" if near else "look at how it is spelt"
            raise ValueError(f"{word!r}: {module} has no {name!r}: {other}") from error
    return found


def called(word: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    """What a function of the user's returns.

    Raises:
        ValueError: If it fails; says where.
    """
    try:
        return function(**settings)
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        raise ValueError(f"{word}({given}) fails: {_fault(error)}") from error


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments as Python literals, of words such as ``width=1.5``.

    Raises:
        ValueError: If a word is no ``name=value``, or a value is no literal.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise ValueError(f"--with {word}: write name=value, such as --with width=1.5")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise ValueError(
                f"--with {word}: {value!r} is no number, text, list or other literal of Python; a "
                f"""text has quotes, which the shell must leave: --with "{name}='{value}'\""""
            ) from error
    return found


def _module(word: str, module: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:  # a script that was installed has its own folder there instead
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            raise ValueError(
                f"{word!r}: there is no module {missing!r}, neither in {here} nor installed: run "
                "the command where it lies, or set PYTHONPATH"
            ) from error
        raise ValueError(f"{word!r}: importing {module} fails: {_fault(error)}") from error


def _fault(error: BaseException) -> str:
    """Kind, message and place of an error in the user's code."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if isinstance(error, SyntaxError) else f" ({where.filename}, line {where.lineno})"
    return f"{type(error).__name__}: {line(error)}{place}"
