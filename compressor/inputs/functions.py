"""References of a Python function beside its arguments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from types import FunctionType


def enclosed(function: FunctionType) -> Iterator[object]:
    """Values that a function closes over."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a name that is bound later
            yield cell.cell_contents


def foreign(module: object) -> bool:
    """True if this is the name of a module of PyTorch or of Python itself."""
    top = str(module).partition(".")[0]
    return top == "torch" or (top in sys.stdlib_module_names and top != "__main__")
