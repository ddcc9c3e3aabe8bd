"""Settings of the choice of widths, with their defaults resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from compressor.allocation import DEFAULT, Method, Objective
from compressor.allocation.candidates import CANDIDATES, Candidate
from compressor.importance import Importance, fisher, frobenius, taylor


@dataclass(frozen=True)
class WidthChoice:
    """The choice of widths; see `compressor.Prune`, which has the same settings.

    Attributes:
        method: See `compressor.allocate`.
        objective: The value that is maximised.
        importance: Scores of units.
        floor: Fewest units that any axis keeps.
        round_to: Keep multiples of so many units.
        batches: Most batches that importance, and the loss of candidates, are measured on.
        clips: Examples per micro-batch of that measurement.
    """

    method: str | Method | None = None
    objective: Objective | None = None
    importance: Importance | None = None
    floor: int = 1
    round_to: int = 1
    batches: int = 16
    clips: int = 4

    @property
    def measures_gradients(self) -> bool:
        """True where the importance is one of gradients, given data."""
        return self.importance in (None, fisher, taylor)

    def candidates(self, *, data: bool) -> tuple[Candidate, ...]:
        """The ways to choose widths that are compared; a single one without data."""
        if data and self.method is None and self.objective is None:
            return CANDIDATES
        return (Candidate(self.method or "dual", self.objective or DEFAULT),)

    def scored_by(self, *, data: bool) -> Importance:
        """The importance, with the default resolved."""
        return self.importance or (fisher if data else frobenius)


class Chooses(Protocol):
    """Settings that hold a choice of widths, such as `compressor.Prune`."""

    @property
    def choice(self) -> WidthChoice:
        """The choice of widths."""
        ...
