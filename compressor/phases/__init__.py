"""The phases of a schedule: frozen settings that say what to do and in how many parts.

A phase of your own is a frozen dataclass that derives from `Phase`; one that lowers a cost has to
say so (`lowers`), as nothing is expected of one that does not (`compressor.run.phase`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from compressor.allocation import DEFAULT, METHODS, Method, Objective
from compressor.allocation.candidates import CANDIDATES, Candidate
from compressor.allocation.objective import is_objective
from compressor.errors import BudgetError
from compressor.importance import Importance, fisher, frobenius, taylor
from compressor.inputs.losses import Distill
from compressor.inputs.settings import check_number, check_whole
from compressor.run.calibration import recalibrate
from compressor.run.phase import Phase
from compressor.wording import brief

if TYPE_CHECKING:
    from compressor.run.training import Training
    from compressor.session import Session

Plain = Phase
"""Deprecated: the base of phases that lower nothing, which `Phase` is."""

Decay = Callable[[float], float]
"""Learning-rate factor as a function of how much of the phase is over, from 0 to 1."""


def cosine(over: float) -> float:
    """From 1 down to 0 along half a cosine (Loshchilov and Hutter 2017, equation 5)."""
    return 0.5 * (1 + math.cos(math.pi * over))


def constant(over: float) -> float:  # noqa: ARG001 - a Decay
    """The same learning rate all along."""
    return 1.0


_LEAST_ONE = ("steps", "batches", "clips", "floor", "round_to")
"""Settings of `Prune` that are whole numbers of at least one."""


@dataclass(frozen=True)
class Prune(Phase):
    """Remove units until the budget is met, at once or in several shrinks with training between.

    Attributes:
        method: How widths are chosen: see `compressor.allocate`. With neither a method nor an
            objective, `compressor.allocation.candidates.CANDIDATES` are compared by their loss on
            the data before any fine-tuning; without data the default of `compressor.allocate` is
            taken.
        objective: What is maximised; see `compressor.allocation`.
        importance: A function (graph, tensors, gradients) -> one score per unit; None means
            `fisher` where there is data and `frobenius` where there is none. With
            ``method="threshold"`` None means the raw filter norms of the 2022 report, taken over
            the inputs still reachable.
        floor: Fewest units that any axis keeps.
        round_to: Keep multiples of so many units.
        steps: Number of shrinks. Before shrink k of K every cost that is over its cap may fall by
            the same factor as in the shrinks that follow it (a geometric descent to the caps).
        epochs: Epochs of training after every shrink but the last.
        lr: Learning rate of those epochs.
        weight_decay: Weight decay of those epochs, on filters alone.
        distill: What those epochs learn from the dense original, beside the targets.
        batches: Most batches that the importance is measured on, and the loss of candidates. They
            are held in memory.
        clips: Examples per micro-batch of that measurement.
    """

    method: str | Method | None = None
    objective: Objective | None = None
    importance: Importance | None = None
    floor: int = 1
    round_to: int = 1
    steps: int = 1
    epochs: int = 0
    lr: float = 1e-3
    weight_decay: float = 1e-2
    distill: Distill | None = None
    batches: int = 16
    clips: int = 4

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: If a number is out of range, or anything is of the wrong kind.
        """
        least_one = {name: getattr(self, name) for name in _LEAST_ONE}
        check_whole("Prune", 1, **least_one)
        check_whole("Prune", epochs=self.epochs)
        check_number("Prune", lr=self.lr, weight_decay=self.weight_decay)
        if self.importance is not None and not callable(self.importance):
            raise ValueError(
                f"Prune(importance={brief(self.importance)}): must be a function (graph, tensors, "
                "gradients) -> scores such as compressor.importance.fisher, or None"
            )
        if self.objective is not None and not is_objective(self.objective):
            raise ValueError(
                f"Prune(objective={brief(self.objective)}): must be an objective such as "
                "compressor.allocation.LogRetention()"
            )
        if not callable(self.method) and self.method not in (None, *METHODS):
            known = ", ".join(map(repr, METHODS))
            raise ValueError(
                f"Prune(method={brief(self.method)}): no such method; there are {known}"
            )
        _check_distill(self)

    lowers = frozenset({"params", "nonzero", "macs", "bytes"})
    cuts = True

    @property
    def trains(self) -> bool:
        """Whether there are steps of an optimiser between shrinks."""
        return self.steps > 1 and self.epochs > 0

    @property
    def measures_gradients(self) -> bool:
        """Yes, unless another importance was given."""
        return not self.reachable and self.importance in (None, fisher, taylor)

    @property
    def batches_in_train_mode(self) -> float:
        """Those of training, or on which candidates are recalibrated, where there are several."""
        if self.trains or len(self.candidates(data=True)) == 1:
            return super().batches_in_train_mode
        return self.batches

    def check(self, session: Session, earlier: Sequence[Phase]) -> None:  # noqa: ARG002 - a Solver
        """Find out whether any structure meets the caps.

        Raises:
            BudgetError: If none does, or a later phase meets all of them alone.
        """
        if session.due is None:
            raise BudgetError(
                f"Prune() has nothing to do: a later phase meets {session.budget} alone. Leave it "
                "out, cap params or macs as well, or give the later phase an amount"
            )
        session.check(self)

    @property
    def length(self) -> int:
        """Every shrink, and every epoch between two of them."""
        return self.steps + (self.steps - 1) * self.epochs

    @property
    def reachable(self) -> bool:
        """Whether scores depend on the structure tried, as in the 2022 report."""
        return self.method == "threshold" and self.importance is None

    def candidates(self, *, data: bool) -> tuple[Candidate, ...]:
        """The ways to choose widths that are compared; a single one without data."""
        if data and self.method is None and self.objective is None:
            return CANDIDATES
        return (Candidate(self.method or "dual", self.objective or DEFAULT),)

    def scored_by(self, *, data: bool) -> Importance:
        """The importance, with the default resolved."""
        return self.importance or (fisher if data else frobenius)

    def run(self, training: Training, part: int) -> None:
        """Shrink once, or train one epoch."""
        done, epoch = divmod(part, 1 + self.epochs)
        if part == 0 and self.trains:
            training.start(self.lr, self.weight_decay)
        if epoch == 0:
            training.shrink(self, remaining=self.steps - done)
        else:
            loss = training.distilled(self.distill)
            number, total = done * self.epochs + epoch - 1, (self.steps - 1) * self.epochs
            training.epoch("Prune", number, total, loss, constant)


@dataclass(frozen=True)
class Recalibrate(Phase):
    """Estimate the running statistics of every BatchNorm anew.

    Removing units changes the distribution that later norms see. The statistics are reset and
    averaged with equal weights over some batches, as training leaves no weight behind to learn.

    Attributes:
        batches: Most batches to average over.
    """

    batches: int = 64

    needs = "Recalibrate measures"

    def __post_init__(self) -> None:
        """Check the number."""
        check_whole("Recalibrate", 1, batches=self.batches)

    @property
    def batches_in_train_mode(self) -> float:
        """All that it reads."""
        return self.batches

    def run(self, training: Training, part: int) -> None:  # noqa: ARG002 - a Phase
        """Average the statistics."""
        model, loss = training.session.model, training.session.loss
        recalibrate(model, islice(training.batches(whole=True), self.batches), loss)
        training.average_buffers()  # processes may read other batches of a loader not divided


@dataclass(frozen=True)
class FineTune(Phase):
    """Train the small network, with the dense original as a teacher if asked.

    The fine-tune is what brings accuracy back: on ESC-50 (`benchmarks/finetune.md`) 30 epochs are
    2 to 12 points better than 8, in four cells of four. A teacher makes an epoch 1.3 to 1.8 times
    as long; it brought 1.7 points (standard error 0.4) in one cell, a plain residual network at a
    mild budget, and -0.2 to -0.6 (0.8 to 1.2) in the other three, so that there is none by default.

    Attributes:
        epochs: Passes over the data.
        lr: Learning rate at the end of the warm-up.
        weight_decay: Decoupled weight decay, on filters alone (not on biases, scales and shifts).
        warmup: Epochs (or a part of one) over which the rate rises from 0.
        decay: Course of the rate afterwards.
        distill: What to learn from the dense original beside the targets, such as `Distill()`.
        select: Return the epoch with the best `val` instead of the last one.
    """

    epochs: int = 30
    lr: float = 1e-3
    weight_decay: float = 1e-2
    warmup: float = 1.0
    decay: Decay = cosine
    distill: Distill | None = None
    select: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: If a number is out of range, or anything is of the wrong kind.
        """
        name = type(self).__name__
        check_whole(name, 1, epochs=self.epochs)
        numbers = {name: getattr(self, name) for name in ("lr", "weight_decay", "warmup")}
        check_number(name, **numbers)
        if not callable(self.decay):
            raise ValueError(
                f"{name}(decay={brief(self.decay)}): must be a function of the share of the phase "
                "that is over, such as compressor.phases.cosine"
            )
        _check_distill(self)

    trains = True

    @property
    def needs(self) -> str:
        """An epoch of data."""
        return f"{type(self).__name__} trains"

    @property
    def length(self) -> int:
        """The epochs."""
        return self.epochs

    def rate(self, over: float) -> float:
        """Factor of the learning rate when the share `over` of the phase is done."""
        warm = min(self.warmup / self.epochs, 1.0)
        if over < warm:
            return over / warm
        return self.decay((over - warm) / (1 - warm)) if warm < 1 else 1.0

    def run(self, training: Training, part: int) -> None:
        """Train one epoch."""
        if part == 0:
            training.start(self.lr, self.weight_decay)
        loss = training.distilled(self.distill)
        training.epoch(type(self).__name__, part, self.epochs, loss, self.rate)
        if self.select:
            training.remember_best()
            if part == self.epochs - 1:
                training.recall_best()


@dataclass(frozen=True)
class Train(FineTune):
    """Train the dense network before anything is removed; it is the teacher from then on.

    Attributes as in `FineTune`. The dense network is what the last epoch leaves, or the best one
    with ``select=True``. Only the first phase of a schedule can be one.
    """

    epochs: int = 60

    trains_dense = True

    def run(self, training: Training, part: int) -> None:
        """Train one epoch; after the last, the network becomes the teacher."""
        super().run(training, part)
        if part == self.epochs - 1:
            training.session.teach(training.session.model, trained=True)


def _check_distill(phase: Prune | FineTune) -> None:
    """Check that `distill` is what it should be."""
    if phase.distill is not None and not isinstance(phase.distill, Distill):
        raise ValueError(
            f"{type(phase).__name__}(distill={brief(phase.distill)}): must be Distill(), or None"
        )
