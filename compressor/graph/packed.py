"""Packed sequences, of which no program can be made: as many steps as data say."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch
from torch.nn.utils import rnn

_HERE = Path(torch.__file__).parent
_PACKING = (rnn.pack_padded_sequence, rnn.pack_sequence, rnn.pad_packed_sequence)
_CODES = {function.__code__ for function in _PACKING}


def packing(error: BaseException) -> str:
    """The line of a forward that works on a packed sequence, of an error raised there.

    Empty where there was none.
    """
    frames = [(frame, line) for frame, line in _frames(error)]
    packed = [number for number, (frame, _) in enumerate(frames) if _is_packed(frame)]
    own = [pair for pair in frames[: packed[0] + 1] if _own(pair[0])] if packed else []
    if not own:
        return ""
    frame, line = own[-1]
    path = frame.f_code.co_filename
    text = linecache.getline(path, line).strip()
    return f"{Path(path).name}:{line}" + (f", {text!r}" if text else "")


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Frames from the outermost to where an error was raised, with the lines they were at."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _is_packed(frame: FrameType) -> bool:
    """True if a function packs, or is given what was packed."""
    given = any(isinstance(value, rnn.PackedSequence) for value in frame.f_locals.values())
    return frame.f_code in _CODES or given


def _own(frame: FrameType) -> bool:
    return not Path(frame.f_code.co_filename).is_relative_to(_HERE)
