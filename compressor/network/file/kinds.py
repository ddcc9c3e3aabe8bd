"""The modules that a stored network may call: the library's own, and the only place that says so.

A file names a kind, never a class, so that what is built from it is one of these. Each kind gives
its settings as plain data and is made from them again; its tensors are stored beside and put in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from compressor.network.integer import IntConv, IntLinear, IntMean, IntTransposed, Requantise, Scale
from compressor.network.sums import IntSum

Settings = dict[str, Any]
"""Anything that JSON can hold."""


class Kind(Protocol):
    """A module that can be stored."""

    def plain(self) -> Settings:
        """Everything but the tensors."""
        ...

    @classmethod
    def from_plain(cls, settings: Settings) -> nn.Module:
        """A module of these settings; it has the tensors' names, or none, and any values."""
        ...


KINDS: Mapping[str, type[Kind]] = {
    "conv": IntConv,
    "linear": IntLinear,
    "mean": IntMean,
    "requantise": Requantise,
    "scale": Scale,
    "sum": IntSum,
    "transposed": IntTransposed,
}
"""Kinds by the name they are stored under."""


def kind_of(module: nn.Module, name: str) -> str:
    """The name of a module's kind.

    Raises:
        ValueError: If it is none of the kinds that can be stored.
    """
    mine: type[Any] = type(module)
    found = [kind for kind, cls in KINDS.items() if mine is cls]
    if not found:
        raise ValueError(
            f"the submodule {name!r} is a {type(module).__name__}, which cannot be stored: a "
            f"stored network calls {', '.join(c.__name__ for c in KINDS.values())} and nothing "
            "else. A network in int8 training has to be converted first"
        )
    return found[0]
