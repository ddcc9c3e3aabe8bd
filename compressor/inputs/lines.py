"""Lines of a user's own code: where an error was raised, where an operation was called.

Own is what belongs neither to PyTorch, nor to Python, nor to this library.
"""

from __future__ import annotations

import linecache
from pathlib import Path
from types import FrameType

from compressor.inputs.functions import foreign
from compressor.wording import line

LONGEST = 60
"""Characters of a line of code that a message shows."""

_GENERATED = ("<string>", "<eval_with_key>", "<frozen")
"""Beginnings of names of files that are none."""

Line = tuple[str, int]
"""A file and the number of a line in it."""


def calling(frame: FrameType | None) -> Line | None:
    """The innermost line of own code among a frame and those that called it.

    None where this library comes first: what called it is no part of a model.
    """
    while frame is not None:
        if _is_own(frame):
            return frame.f_code.co_filename, frame.f_lineno
        if _is_ours(frame):
            return None
        frame = frame.f_back
    return None


def raised_at(error: BaseException) -> str:
    """The innermost line of own code that an error went through; empty where there is none.

    Of code that the library was called by there is nothing in a traceback that it catches.
    """
    trace, found = error.__traceback__, ""
    while trace is not None:
        if _is_own(trace.tb_frame):
            found = shown((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return found


def told(error: BaseException) -> str:
    """An error in a few words, with the line of own code that it was raised in."""
    text, at = line(error), raised_at(error)
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{what}; {at}" if at else what


def shown(at: Line) -> str:
    """A line of code for a message: ``net.py:41: x = x.roll(1, 1)``."""
    file, number = at
    code = " ".join(linecache.getline(file, number).split())
    short = code if len(code) <= LONGEST else f"{code[: LONGEST - 3]}..."
    place = f"{Path(file).name}:{number}"
    return f"{place}: {short}" if short else place


def _is_own(frame: FrameType) -> bool:
    if frame.f_code.co_filename.startswith(_GENERATED):
        return False
    return not foreign(frame.f_globals.get("__name__")) and not _is_ours(frame)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] == __name__.partition(".")[0]
