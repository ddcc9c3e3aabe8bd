"""What a file needs against what a board has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.export.features import Features
from compressor.export.reading.contents import Contents
from compressor.export.reading.macs import blank_macs, operator_macs, uncounted
from compressor.export.reading.needs import Arena, arena
from compressor.reports.boards.table import Board


@dataclass(frozen=True)
class Need:
    """What a file needs of a microcontroller.

    Attributes:
        name: Of the file.
        flash: Bytes of the file.
        arena: Its working memory.
        macs: Multiply-accumulates of one run.
        blank: Those of them that multiply the zeros by which kernels pad their input.
        uncounted: Names of operators whose products are not among them.
        features: How the features that it takes are made; None where it does not say.
    """

    name: str
    flash: int
    arena: Arena
    macs: int
    uncounted: tuple[str, ...]
    features: Features | None = None
    blank: int = 0

    @property
    def ram(self) -> int:
        """Bytes of the arena: its head, and the estimate of its tail."""
        return self.arena.head + self.arena.tail


@dataclass(frozen=True)
class Fit:
    """How a file fits a board.

    Attributes:
        board: Which.
        flash: Bytes of flash that it leaves for the program; negative: those that are missing.
        ram: Likewise, of the RAM.
        seconds: Time of one run at one multiply-accumulate a cycle: a yardstick, no prediction.
    """

    board: Board
    flash: int
    ram: int
    seconds: float

    @property
    def fits(self) -> bool:
        """Whether neither flash nor RAM is missing."""
        return self.flash >= 0 and self.ram >= 0


def need(contents: Contents) -> Need:
    """What a file needs.

    Raises:
        ValueError: If its memory cannot be counted (`compressor.export.reading.needs.arena`).
    """
    macs = sum(operator_macs(contents))
    left = uncounted(contents)
    blank, takes = blank_macs(contents), contents.features
    return Need(contents.name, contents.size, arena(contents), macs, left, takes, blank)


def fits(needed: Need, boards: Sequence[Board]) -> tuple[Fit, ...]:
    """How a file fits each board, in their order."""
    return tuple(
        Fit(b, b.flash - needed.flash, b.ram - needed.ram, needed.macs / b.clock) for b in boards
    )
