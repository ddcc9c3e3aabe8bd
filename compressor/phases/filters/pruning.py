"""`FilterPruning`: bring single filters under a budget, at once or by ADMM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from compressor.errors import BudgetError
from compressor.importance import Importance, frobenius
from compressor.inputs import randomness
from compressor.inputs.batches import Batch
from compressor.inputs.losses import Distill
from compressor.inputs.settings import check_number, check_whole
from compressor.phases.admm import Admm
from compressor.phases.filters.by_admm import AdmmOnFilters, fisher_metric
from compressor.phases.filters.singles import Filters
from compressor.phases.prune import Prune
from compressor.run.lesson import Lesson
from compressor.run.phase import Phase, Teaching
from compressor.run.rates import cosine
from compressor.wording import brief

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training

CHOICES = {
    "strategy": ("oneshot", "admm"),
    "granularity": ("filters",),
    "allocator": (None, "uniform", "threshold"),
}
"""What a setting may be."""

ADVICE = {
    "strategy": "channels go in steps with Prune(steps=5, epochs=2)",
    "granularity": "coupled channels are removed by Prune()",
    "allocator": "single filters are chosen by one threshold over all of them, on raw norms "
    "('threshold') or on places in the layer ('uniform'): which inputs a layer still has depends "
    "on the filters before it, so that no cost is a sum over layers, as other methods need",
}
"""What to take, or to know, where it is something else."""


@dataclass(frozen=True)
class FilterPruning(Teaching):
    """Remove single output filters until the budget is met, with all that then serves nothing.

    A filter goes with what nothing reaches or reads any more, as in section 2.3 of the 2022 report
    (DCASE 2022 Task 1, FAU), whose settings are ``allocator="threshold"`` and ``strategy="admm"``.
    Trunks stay nearly as wide as they were (a channel goes when all filters that write it have
    gone), and layers gather and spread channels around smaller computations; nothing can be pruned
    by channels afterwards. `Prune` removes coupled channels and leaves an ordinary dense network.

    ``"oneshot"`` removes at once. ``"admm"`` trains for `epochs` with a projection onto the budget
    now and then, removes what the best projection leaves out, and never returns worse than its own
    start by the loss right after removal (BatchNorm recalibrated, on the calibration batches; not
    by accuracy after fine-tuning). It is there to reproduce the report: on generated scenes it was
    2 to 10 points behind one shot at 100 steps and equal at 500, never ahead.

    Attributes:
        strategy: ``"oneshot"`` or ``"admm"``.
        granularity: ``"filters"``.
        allocator: ``"uniform"`` (one width factor; the default) or ``"threshold"`` (raw norms).
        importance: As in `Prune`; with ``allocator="threshold"`` and none given, raw norms over
            the inputs still reachable.
        floor: Fewest filters of a layer.
        epochs: Epochs of training of ``"admm"``.
        lr: Learning rate of these epochs at the start; it falls to zero along a cosine.
        weight_decay: Weight decay of these epochs, on filters alone.
        distill: What these epochs learn from the dense original, beside the targets.
        updates: Projections an epoch.
        admm: Settings of the duals and the penalty.
        metric: True if distances are weighted by the Fisher information of filters; None: yes, but
            for ``allocator="threshold"``.
        batches: Most batches that importance, metric and calibration loss are measured on. They
            are held in memory.
        clips: Examples per micro-batch of importance and metric.
    """

    strategy: str = "oneshot"
    granularity: str = "filters"
    allocator: str | None = None
    importance: Importance | None = None
    floor: int = 1
    epochs: int = 2
    lr: float = 1e-3
    weight_decay: float = 1e-2
    distill: Distill | None = None
    updates: int = 4
    admm: Admm = field(default_factory=Admm)
    metric: bool | None = None
    batches: int = 16
    clips: int = 4

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                there = ", ".join(repr(choice) for choice in known if choice)
                raise ValueError(
                    f"FilterPruning({name}={brief(value)}): there is {there}; {ADVICE[name]}"
                )
        check_whole("FilterPruning", 1, updates=self.updates)
        check_whole("FilterPruning", int(self.trains), epochs=self.epochs)
        check_number("FilterPruning", lr=self.lr)
        if not isinstance(self.admm, Admm):
            raise ValueError(
                f"FilterPruning(admm={brief(self.admm)}): must be compressor.phases.admm.Admm()"
            )
        _ = self._prune  # which checks what it takes over

    @property
    def _prune(self) -> Prune:
        """Settings in common with `Prune`: what is measured, and on what."""
        return Prune(
            method="uniform",
            importance=frobenius if self._raw else self.importance,
            floor=self.floor,
            weight_decay=self.weight_decay,
            distill=self.distill,
            batches=self.batches,
            clips=self.clips,
        )

    @property
    def _raw(self) -> bool:
        """True if filters are compared by raw norms over the inputs still reachable."""
        return self.allocator == "threshold" and self.importance is None

    lowers = Prune.lowers - {"ram"}
    cuts = leaves_uncut = True

    @property
    def measures_gradients(self) -> bool:
        """True where the importance is one of gradients."""
        return self._prune.measures_gradients

    @property
    def trains(self) -> bool:
        """True if there are steps of an optimiser."""
        return self.strategy == "admm"

    @property
    def length(self) -> int:
        """The epochs and the removal."""
        return self.epochs + 1 if self.trains else 1

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:  # noqa: ARG002
        """Find out whether the caps can be met.

        Raises:
            BudgetError: If they cannot, or a later phase meets all of them alone.
        """
        if session.nothing_due:
            raise BudgetError(
                f"FilterPruning() has nothing to do: a later phase meets {session.budget} alone. "
                "Leave it out, or cap params or macs as well"
            )
        self._filters(session).check()

    def redo(self, session: Compression, change: Mapping[str, Any]) -> None:
        """Remove the same filters again."""
        self._filters(session).redo(change)

    def lessons(self, training: Training, part: int) -> Iterator[Lesson]:
        """Remove, or train one epoch with projections."""
        filters = self._filters(training.session)
        if not self.trains:
            filters.remove(training, filters.first(), self.allocator or "uniform")
            return
        solver = AdmmOnFilters(training, filters, self.admm, self.updates)
        if part == self.epochs:
            solver.finish()
            return
        batches, start = same_batches(training.session, self.batches), math.inf
        if part == 0:
            training.start(self.lr, self.weight_decay)
            start = solver.tried(filters.first(), batches)
            weighted = self.allocator != "threshold" if self.metric is None else self.metric
            measured = (training.session, filters.graph, batches, self.clips)
            solver.begin(fisher_metric(*measured) if weighted else None, self.lr)
        loss, after = training.distilled(self.distill), solver.epoch(part / self.epochs)
        yield Lesson("FilterPruning", part, self.epochs, loss, cosine, after=after)
        found = {"start": start, "calibration": solver.tried(solver.structure(), batches)}
        # After the epoch: what is logged before it would stand in the last phase's entry.
        training.logged(**{name: loss for name, loss in found.items() if math.isfinite(loss)})

    def _filters(self, session: Compression) -> Filters:
        uniform = self.allocator != "threshold"
        return Filters(session, self._prune.choice, uniform=uniform, raw=self._raw)


def same_batches(session: Compression, count: int) -> list[Batch]:
    """The first batches that the data yield after a fixed seed; no random state moves.

    Losses that are to be compared over a whole phase are measured on the same batches, where the
    loader draws from the global generators or its own.
    """
    source = getattr(session.data, "source", session.data)
    if session.data is None:
        return []
    with randomness.preserved(source):
        randomness.seed_everything(0)
        for generator in randomness.generators(source):
            generator.manual_seed(0)
        return list(islice(session.data, count))
