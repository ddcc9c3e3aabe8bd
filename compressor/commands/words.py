"""What words of a command line name: something in a module, ``package.module:Name``; settings."""

from __future__ import annotations

import ast
import importlib
import importlib.util
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
    """What ``package.module:Name`` or ``folder/net.py:Name`` names.

    Modules are looked for in this folder first.

    Raises:
        ValueError: If it is no such word, the module cannot be imported, or has no such name.
    """
    module, _, path = word.rpartition(":")
    if not module or not path:
        raise ValueError(
            f"{word!r} is neither a file that is there nor something in a module: write "
            "package.module:Name or net.py:Name, such as net:Net for Net in net.py"
        )
    found: Any = _file(word, module) if module.endswith(".py") else _module(word, module)
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
        if name in found:
            raise ValueError(f"--with {word}: {name} stands there twice: leave one out")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise ValueError(
                f"--with {word}: {value!r} is no number, text, list or other literal of Python; a "
                f"""text has quotes, which the shell must leave: --with "{name}='{value}'\""""
            ) from error
    return found


def module_in(path: Path) -> ModuleType:
    """The module that a file of Python is; files beside it can be imported by it.

    Raises:
        Exception: Whatever running it raises.
    """
    name = f"file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - a .py file has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # what is pickled or inspected looks its module up
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _file(word: str, file: str) -> ModuleType:
    if not Path(file).is_file():
        raise ValueError(f"{word!r}: there is no file {file}: look at how it is spelt")
    try:
        return module_in(Path(file))
    except (Exception, SystemExit) as error:
        raise ValueError(f"{word!r}: running {file} fails: {_fault(error)}") from error


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
    """Kind, message and place of an error in the user's code.

    An error of the call itself, such as of an argument that is missing, has no place there.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen")
    ]
    where = frames[-1] if frames and not isinstance(error, SyntaxError) else None
    place = "" if where is None else f" ({where.filename}, line {where.lineno})"
    return f"{type(error).__name__}: {line(error)}{place}"
