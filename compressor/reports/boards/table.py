"""The table of boards, from `boards.json`: what each has, and where that is printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}


@dataclass(frozen=True)
class Board:
    """A board with a microcontroller.

    Attributes:
        name: By which it is asked for.
        chip: Its microcontroller and core.
        flash: Bytes that hold program and network.
        ram: Bytes of the largest piece of RAM, in which an arena can lie.
        clock: Cycles a second.
        note: What a reader should know of these figures; may be empty.
        sources: Pages that print them.
    """

    name: str
    chip: str
    flash: int
    ram: int
    clock: int
    note: str
    sources: tuple[str, ...]


def boards() -> tuple[Board, ...]:
    """All boards of the table, by name."""
    text = resources.files(__package__ or __name__).joinpath("boards.json").read_text("utf-8")
    return tuple(sorted((_board(entry) for entry in json.loads(text)), key=lambda b: b.name))


def board_of(name: str, known: Sequence[Board]) -> Board:
    """The board of this name.

    Raises:
        ValueError: If there is none; lists those there are.
    """
    for board in known:
        if board.name == name.lower():
            return board
    names = ", ".join(board.name for board in known)
    raise ValueError(f"there is no board {name!r} in the table: choose one of {names}")


def _board(entry: Mapping[str, Any]) -> Board:
    clock = int(entry["megahertz"]) * 1_000_000
    return Board(
        entry["name"],
        entry["chip"],
        _bytes(entry["flash"]),
        _bytes(entry["ram"]),
        clock,
        entry["note"],
        tuple(entry["sources"]),
    )


def _bytes(text: str) -> int:
    number, unit = text.split()
    return int(float(number) * _UNITS[unit])
