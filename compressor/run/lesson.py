"""One epoch of training, as a phase asks for it: `fit` gives it, or a loop of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from compressor.inputs.losses import Loss
from compressor.run.rates import Decay

Judged = Callable[[nn.Module], nn.Module]
"""Makes of a model, in eval mode, another one that is validated for it."""


@dataclass(frozen=True)
class Lesson:
    """One pass over the data.

    Attributes:
        phase: Name of the phase, for the log and for errors.
        number: Number of the epoch in the phase, from 0.
        total: Epochs of the phase.
        loss: The function to minimise, called as ``loss(model, batch)``.
        rate: Factor of the learning rate by the share of the phase that is over.
        after: Called after every step of the optimiser.
        end: Called after the last one, before what the epoch left is checked and validated.
        clip: Largest norm of the gradient, to which it is cut; None for no bound.
        judged: Makes of the model what is validated in its place; None for the model itself.
    """

    phase: str
    number: int
    total: int
    loss: Loss
    rate: Decay
    after: Callable[[], None] | None = None
    end: Callable[[], None] | None = None
    clip: float | None = None
    judged: Judged | None = None

    @property
    def last(self) -> bool:
        """True for the last epoch of its phase."""
        return self.number + 1 == self.total
