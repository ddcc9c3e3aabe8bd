"""Removal in several steps, with epochs of training between them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from compressor.inputs.losses import Distill, check_distill
from compressor.inputs.settings import check_number, check_whole
from compressor.run.lesson import Lesson
from compressor.run.phase import Teaching
from compressor.run.rates import constant

if TYPE_CHECKING:
    from compressor.run.training import Training


class Gradual(Teaching):
    """A phase that removes so often, and trains for so many epochs after every time but the last.

    Attributes:
        steps: Number of removals.
        epochs: Epochs of training after every removal but the last.
        lr: Learning rate of those epochs.
        weight_decay: Weight decay of those epochs, on filters alone.
        distill: Settings of what those epochs learn from the dense original.
    """

    steps: int
    epochs: int
    lr: float
    weight_decay: float
    distill: Distill | None

    @abstractmethod
    def remove(self, training: Training, remaining: int) -> None:
        """Remove once; so many removals lead to the end, this one included."""

    def check_steps(self) -> None:
        """Check these settings."""
        name = type(self).__name__
        check_whole(name, 1, steps=self.steps)
        check_whole(name, epochs=self.epochs)
        check_number(name, lr=self.lr, weight_decay=self.weight_decay)
        check_distill(name, self.distill)

    @property
    def trains(self) -> bool:
        """True with steps of an optimiser between removals."""
        return self.steps > 1 and self.epochs > 0

    @property
    def passes(self) -> int:
        """The epochs between removals."""
        return (self.steps - 1) * self.epochs

    @property
    def length(self) -> int:
        """Every removal, and every epoch between two of them."""
        return self.steps + (self.steps - 1) * self.epochs

    def lessons(self, training: Training, part: int) -> Iterator[Lesson]:
        """Remove once, or train one epoch."""
        done, epoch = divmod(part, 1 + self.epochs)
        if part == 0 and self.trains:
            training.start(self.lr, self.weight_decay)
        if epoch == 0:
            self.remove(training, self.steps - done)
            return
        number, total = done * self.epochs + epoch - 1, (self.steps - 1) * self.epochs
        loss = training.distilled(self.distill)
        yield Lesson(type(self).__name__, number, total, loss, constant)
