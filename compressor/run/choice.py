"""Settings of the choice of widths, with their defaults resolved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from compressor.allocation import DEFAULT, Method, Objective
from compressor.allocation.candidates import CANDIDATES, WAYS, Candidate
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
        repair: Repair what is left, and judge candidates by what is left after it.
        inputs: Most examples that activations are measured on, and repair.
        fold: Remove first what can go at no cost.
    """

    method: str | Method | None = None
    objective: Objective | None = None
    importance: Importance | None = None
    floor: int = 1
    round_to: int = 1
    batches: int = 16
    clips: int = 4
    repair: bool = True
    inputs: int = 256
    fold: bool = True

    @property
    def measures_gradients(self) -> bool:
        """True where an importance is one of gradients, given data."""
        return self.importance in (None, fisher, taylor)

    def candidates(self, *, data: bool) -> tuple[Candidate, ...]:
        """The ways to choose widths that are compared; a single one without data."""
        importance = self.scored_by(data=data)
        if not data or self.method is not None or self.objective is not None:
            return (Candidate(self.method or "dual", self.objective or DEFAULT, importance),)
        if self.importance is not None:
            return tuple(replace(way, importance=importance) for way in WAYS)
        return CANDIDATES

    def scored_by(self, *, data: bool) -> Importance:
        """The importance where there is one alone, with the default resolved."""
        return self.importance or (fisher if data else frobenius)


class Chooses(Protocol):
    """Settings that hold a choice of widths, such as `compressor.Prune`."""

    @property
    def choice(self) -> WidthChoice:
        """The choice of widths."""
        ...
