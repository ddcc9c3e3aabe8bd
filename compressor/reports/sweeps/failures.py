"""What a row ends in that makes no network: a refusal, or an error in the code of a method."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType

from compressor.errors import (
    BudgetError,
    CountError,
    ResumeError,
    TraceError,
    TrainingError,
    VerificationError,
)
from compressor.inputs.functions import foreign
from compressor.inputs.shortage import out_of_memory
from compressor.wording import line

DONE, REFUSED, FAILED = "done", "refused", "failed"
"""What becomes of a row: a network, an answer of this library or of what a pruner returned that is
the same the next time, or an error in somebody's code, which may be put right."""

REFUSALS = (BudgetError, CountError, TraceError, TrainingError, VerificationError)
"""Errors by which this library refuses a method."""


class RefusedError(Exception):
    """Another pruner makes nothing that can be used."""


def ends_all(error: Exception) -> bool:
    """True for errors that say nothing of a method: want of memory, checkpoints of other runs."""
    return isinstance(error, ResumeError) or out_of_memory(error)


def ended(error: Exception) -> dict[str, str]:
    """The state of a row that ends in an error, and why."""
    if isinstance(error, (RefusedError, *REFUSALS)):
        return {"state": REFUSED, "why": line(error)}
    said = f"{type(error).__name__}: {line(error)}".removesuffix(": ")
    return {"state": FAILED, "why": said + _place(error)}


def _place(error: Exception) -> str:
    """Where the caller's own code was when it ended, in brackets; empty where none was running."""
    for frame, number in traceback.walk_tb(error.__traceback__):
        if not _ours(frame):
            code = frame.f_code
            return f" ({Path(code.co_filename).name}, line {number}, in {code.co_name})"
    return ""


def _ours(frame: FrameType) -> bool:
    """True for code of this library, PyTorch or Python."""
    module = frame.f_globals.get("__name__", "")
    return foreign(module) or str(module).partition(".")[0] == __name__.partition(".")[0]
