"""Modules of version 0.1 under the names that they had: they import for one version, and warn."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

KEPT: Mapping[str, str] = {
    "inputs": "batches checks copies finite functions labels losses models randomness remedies "
    "settings sources waiting",
}
"""Names of modules that now lie in a room, by the room."""

RENAMED: Mapping[str, str] = {
    "exclusive": "inputs.process",
}
"""Modules with another name now."""


class _Moved(ModuleType):
    """Stands for a module, which is imported when something of it is asked for."""

    def __init__(self, old: str, new: str) -> None:
        super().__init__(old, f"`{new}` under the name that it had in version 0.1.")
        self._new = new

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # what importers and inspectors ask of every module
        found = getattr(import_module(self._new), name)
        message = f"{self.__name__} is {self._new} since version 0.2: import {name} from there"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return found


def moved() -> dict[str, str]:
    """Dotted names of all modules of version 0.1 that moved, with those of today."""
    rooms = {name: f"{room}.{name}" for room, names in KEPT.items() for name in names.split()}
    return {f"compressor.{old}": f"compressor.{new}" for old, new in (rooms | RENAMED).items()}


def answer_to_old_names() -> None:
    """Let every module that moved be imported under its old name."""
    for old, new in moved().items():
        parent, _, name = old.rpartition(".")
        module = sys.modules.setdefault(old, _Moved(old, new))
        package = sys.modules.get(parent)
        if package is not None and name not in vars(package):
            setattr(package, name, module)
