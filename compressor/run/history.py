"""Removals of units and epochs of training so far, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from compressor.allocation import Allocation
from compressor.budget import Budget, Cost
from compressor.repair.least_squares import Repaired
from compressor.run.free import Free


@dataclass(frozen=True)
class Shrink:
    """One removal of units.

    Attributes:
        caps: Caps this shrink had to reach; the budget itself for the last one.
        reached: Costs it reached, by the same names.
        method: Way the widths were chosen, and by which objective.
        value: Objective of the structure chosen.
        bound: Proven upper bound on that objective under these caps; None if none was computed.
        gap: Relative distance of the two; None if there is no bound.
        binding: Caps that stop anything larger.
        unused: Share of each cap left over.
        prices: What 1 % more of each cap would add to the objective.
        gains: The same in the unit of `gap`.
        difference: Largest difference between the outputs of the masked and of the shrunk model;
            None if that was not checked.
        tried: What every way that was compared is worth before any training, the less the better;
            empty if there was one.
        judged: The measure of that.
        repaired: What repair did; None where there was none.
        free: What was removed before, at no cost; None where there was nothing.
    """

    caps: Mapping[str, int]
    reached: Mapping[str, int]
    method: str
    value: float
    bound: float | None = None
    gap: float | None = None
    binding: tuple[str, ...] = ()
    unused: Mapping[str, float] = field(default_factory=dict[str, float])
    prices: Mapping[str, float] = field(default_factory=dict[str, float])
    difference: float | None = None
    tried: Mapping[str, float] = field(default_factory=dict[str, float])
    repaired: Repaired | None = None
    free: Free | None = None
    judged: str = "loss before fine-tuning"
    gains: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Rate:
    """A learning rate, and what it was found by.

    Attributes:
        phase: Name of the phase that asked for it.
        lr: The rate.
        why: The reason why it was not measured; empty where it was.
        start: Loss on the batches held back, before any step.
        tried: Pairs of a rate and of the loss after its steps, by rate; infinity where it diverged.
        steps: Steps that each was tried for.
    """

    phase: str
    lr: float
    why: str = ""
    start: float | None = None
    tried: tuple[tuple[float, float], ...] = ()
    steps: int = 0

    def __str__(self) -> str:
        """The rate, and the loss that each one led to."""
        losses = ", ".join(f"{rate:.3g} ({loss:.3g})" for rate, loss in self.tried)
        if self.why:
            return f"rate {self.lr:.3g}, not measured: {self.why}"
        return (
            f"rate {self.lr:.3g}, found among those of which {self.steps} steps brought a loss of "
            f"{self.start:.3g} to: {losses}"
        )


@dataclass(frozen=True)
class Epoch:
    """One pass over the data.

    Attributes:
        phase: Name of the phase.
        epoch: Its number in the phase, from 1.
        loss: Mean loss.
        accuracy: Value that `val` gave; None without one.
        seconds: Duration.
        extra: What a solver had to say: residuals, flips, a penalty.
    """

    phase: str
    epoch: int
    loss: float
    accuracy: float | None
    seconds: float
    extra: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Step:
    """One step of an optimiser.

    Attributes:
        phase: Name of the phase.
        epoch: Its epoch, from 1.
        step: Number of the step in the epoch, from 1.
        number: Number of the step in the run, from 1.
        loss: The loss that it was made on; NaN where a loop of one's own did not tell it.
        lr: Learning rate of the optimiser's first group; None where it is not known.
    """

    phase: str
    epoch: int
    step: int
    number: int
    loss: float
    lr: float | None


def shrink_of(
    caps: Budget,
    reached: Cost,
    allocation: Allocation,
    difference: float | None,
    tried: Mapping[str, float],
    repaired: Repaired | None = None,
) -> Shrink:
    """A shrink, as plain data."""
    return Shrink(
        caps=caps.caps,
        reached={name: getattr(reached, name) for name in caps.caps},
        method=allocation.name,
        value=allocation.value,
        bound=allocation.bound,
        gap=allocation.gap,
        binding=tuple(allocation.binding),
        unused=dict(allocation.unused),
        prices=dict(allocation.prices),
        gains=dict(allocation.gains),
        difference=difference,
        tried=dict(tried),
        repaired=repaired,
    )


def restored(state: Mapping[str, Any]) -> Shrink:
    """The shrink of which `dataclasses.asdict` made plain data, lists in the place of tuples."""
    found = state["repaired"]
    made = None if found is None else Repaired.of(found)
    free = None if state["free"] is None else Free(**state["free"])
    binding = tuple(state["binding"])
    return replace(Shrink(**state), binding=binding, repaired=made, free=free)
