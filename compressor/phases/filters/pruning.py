"""`FilterPruning`: bring filters under a budget, in one of four ways and at either granularity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from compressor.allocation import METHODS, Method, Objective
from compressor.allocation.candidates import Candidate
from compressor.allocation.objective import is_objective
from compressor.errors import BudgetError
from compressor.importance import Importance
from compressor.inputs.batches import Batch
from compressor.inputs.losses import Distill
from compressor.inputs.settings import check_number, check_whole
from compressor.phases.admm import Admm
from compressor.phases.filters.energy import fisher_metric
from compressor.phases.filters.holding import hold, same_batches
from compressor.phases.filters.singles import Filters
from compressor.phases.filters.strategies import PullToStructure, Strategy, SwitchOff, Walk
from compressor.phases.filters.targets import Channels, Target
from compressor.phases.prune import Prune
from compressor.run.phase import Phase
from compressor.run.rates import constant, cosine
from compressor.wording import brief

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training

STRATEGIES = ("oneshot", "gradual", "admm", "iht")
GRANULARITIES = ("channels", "filters")

_TRAINED: Mapping[str, type[Strategy]] = {"admm": PullToStructure, "iht": SwitchOff}


@dataclass(frozen=True)
class FilterPruning(Phase):
    """Remove filters until the budget is met.

    *Strategies.* ``"oneshot"`` removes once and ``"gradual"`` in several steps with training
    between. ``"admm"`` and ``"iht"`` train for `epochs` with a projection onto the budget now and
    then, remove what the best projection leaves out, and never return worse than their own start
    by the loss right after removal (BatchNorm recalibrated, on the calibration batches; not by
    accuracy after fine-tuning). All of them choose by one projection, that of the allocator.

    *Which to take.* On real sound (ESC-50, two networks, two budgets, 14 paired runs) one width
    factor in Fisher order is the bar; the dual allocator was 0.16 points better (standard error
    0.75) and five gradual shrinks 0.66 worse (0.73). On generated scenes ADMM was 2 to 10 points
    behind one shot at 100 steps and equal at 500, never ahead. So one shot is the default, the
    allocation is chosen by the data as in `Prune`, and ADMM is there to reproduce the 2022 report.

    *Granularities.* ``"channels"`` removes coupled channels: every layer along a residual trunk
    loses the same ones, and the result is an ordinary dense network. ``"filters"`` removes single
    output filters with all that nothing reaches or reads any more, as section 2.3 of the report
    (DCASE 2022 Task 1, FAU) does with ``allocator="threshold"`` and ``strategy="admm"``. There the
    trunks stay nearly as wide as they were (a channel goes when all filters that write it have
    gone), and layers gather and spread channels around smaller computations; nothing can be pruned
    by channels afterwards. One global threshold on coupled channels starves layers: 27 points
    (3.5) behind the bar.

    Attributes:
        strategy: One of the four.
        granularity: One of the two.
        allocator: For channels a method of `compressor.allocate`, by name or as a function, or an
            objective for the ``"dual"`` one; None compares candidates on the data. For filters
            ``"uniform"`` (one width factor; the default) or ``"threshold"`` (raw norms).
        importance: As in `Prune`; with ``allocator="threshold"`` and none given, raw norms over
            the inputs still reachable.
        floor: Fewest units of an axis, or filters of a layer.
        round_to: Keep multiples of so many channels; 1 for filters.
        steps: Removals of ``"gradual"``.
        epochs: Epochs of training: after every removal but the last of ``"gradual"``, in all of
            ``"admm"`` and ``"iht"``.
        lr: Learning rate of these epochs; it falls to zero along a cosine in ``"admm"`` and
            ``"iht"``.
        weight_decay: Weight decay of these epochs, on filters alone.
        distill: What these epochs learn from the dense original, beside the targets.
        updates: Projections an epoch of ``"admm"`` and ``"iht"``.
        admm: Settings of the duals and the penalty.
        metric: Whether distances are weighted by the Fisher information of filters in ``"admm"``
            and ``"iht"``; None: yes, but for ``allocator="threshold"``.
        batches: Most batches that importance, metric and calibration loss are measured on. They
            are held in memory.
        clips: Examples per micro-batch of importance and metric.
    """

    strategy: str = "oneshot"
    granularity: str = "channels"
    allocator: str | Method | Objective | None = None
    importance: Importance | None = None
    floor: int = 1
    round_to: int = 1
    steps: int = 5
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
        """Check the settings.

        Raises:
            ValueError: If a number is out of range, or anything is of the wrong kind.
        """
        known = {"strategy": STRATEGIES, "granularity": GRANULARITIES}
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"FilterPruning({name}={brief(getattr(self, name))}): there are "
                    f"{', '.join(map(repr, values))}"
                )
        check_whole("FilterPruning", 1, updates=self.updates, steps=self.steps)
        check_whole("FilterPruning", 1 if self.strategy in _TRAINED else 0, epochs=self.epochs)
        check_number("FilterPruning", lr=self.lr)
        if not isinstance(self.admm, Admm):
            raise ValueError(
                f"FilterPruning(admm={brief(self.admm)}): must be compressor.phases.admm.Admm()"
            )
        self._check_allocator()
        _ = self.prune  # which checks what it takes over

    def _check_allocator(self) -> None:
        if self.granularity == "filters":
            if self.allocator not in (None, "uniform", "threshold"):
                raise ValueError(
                    f"FilterPruning(granularity='filters', allocator={brief(self.allocator)}): "
                    "single filters are chosen by one threshold over all of them, on raw norms "
                    "('threshold') or on places in the layer ('uniform'): which inputs a layer "
                    "still has depends on the filters before it, so that no cost is a sum over "
                    "layers, as the other methods need"
                )
            if self.round_to != 1:
                raise ValueError(
                    f"FilterPruning(granularity='filters', round_to={self.round_to}): a filter "
                    "falls with those it reads, so that widths cannot be rounded: leave it at 1"
                )
        named = callable(self.allocator) or is_objective(self.allocator)
        if not named and self.allocator not in (None, *METHODS):
            raise ValueError(
                f"FilterPruning(allocator={brief(self.allocator)}): no such method; there are "
                f"{', '.join(map(repr, METHODS))}"
            )

    @property
    def prune(self) -> Prune:
        """The settings of the one-shot and gradual choice."""
        objective = is_objective(self.allocator)
        gradual = self.strategy == "gradual"
        return Prune(
            method=None if objective else cast("str | Method | None", self.allocator),
            objective=cast("Objective", self.allocator) if objective else None,
            importance=self.importance,
            floor=self.floor,
            round_to=self.round_to,
            steps=self.steps if gradual else 1,
            epochs=self.epochs if gradual else 0,
            lr=self.lr,
            weight_decay=self.weight_decay,
            distill=self.distill,
            batches=self.batches,
            clips=self.clips,
        )

    lowers = Prune.lowers
    cuts = True

    @property
    def leaves_uncut(self) -> bool:
        """Whether layers become narrower than the channels between them."""
        return self.granularity == "filters"

    @property
    def measures_gradients(self) -> bool:
        """As `Prune`."""
        return self.prune.measures_gradients

    @property
    def batches_in_train_mode(self) -> float:
        """Those of training, or as `Prune`."""
        return math.inf if self.trains else self.prune.batches_in_train_mode

    @property
    def trains(self) -> bool:
        """Whether there are steps of an optimiser."""
        return self.strategy in _TRAINED or self.prune.trains

    @property
    def length(self) -> int:
        """The epochs and the removal, or what `Prune` has."""
        return self.epochs + 1 if self.strategy in _TRAINED else self.prune.length

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:
        """Find out whether the caps can be met.

        Raises:
            BudgetError: If they cannot, or a later phase meets all of them alone.
        """
        if self.granularity == "channels":
            self.prune.check(session, earlier)
            return
        if session.nothing_due:
            raise BudgetError(
                f"FilterPruning() has nothing to do: a later phase meets {session.budget} alone. "
                "Leave it out, or cap params or macs as well"
            )
        self._filters(session).check()

    def redo(self, session: Compression, change: Mapping[str, Any]) -> None:
        """Remove the same single filters again; channels are known to the checkpoint."""
        self._filters(session).redo(change)

    def run(self, training: Training, part: int) -> None:
        """Remove, or train one epoch."""
        if self.strategy in _TRAINED:
            self._run_trained(training, part)
        elif self.granularity == "channels":
            self.prune.run(training, part)
        else:
            self._run_filters(training, part)

    def _run_filters(self, training: Training, part: int) -> None:
        """One shot or gradual on single filters: what is to go is held at zero until the end."""
        prune = self.prune
        done, epoch = divmod(part, 1 + prune.epochs)
        if part == 0 and prune.trains:
            training.start(self.lr, self.weight_decay)
        if epoch:
            number, total = done * prune.epochs + epoch - 1, (prune.steps - 1) * prune.epochs
            loss = training.distilled(self.distill)
            training.epoch("FilterPruning", number, total, loss, constant)
            return
        target = self._filters(training.session)
        remaining = prune.steps - done
        structure = target.first(remaining)
        if remaining > 1:
            hold(training.session, target.graph, structure)
        else:
            target.remove(training, structure, f"{self.allocator or 'uniform'}")

    def _run_trained(self, training: Training, part: int) -> None:
        """ADMM or iterative hard thresholding."""
        strategy = _TRAINED[self.strategy]()
        batches = same_batches(training.session, self.batches)
        start = math.inf
        if part == 0:
            training.start(self.lr, self.weight_decay)
            start = self._begin(training, strategy, batches)
        walk = self._walk(training)
        if part == self.epochs:
            walk.finish(self.strategy)
            return
        loss = training.distilled(self.distill)
        after = strategy.epoch(walk, part / self.epochs)
        training.epoch("FilterPruning", part, self.epochs, loss, cosine, after=after)
        found = {"start": start, "calibration": walk.tried(strategy.structure(walk), batches)}
        # After the epoch: what is logged before it would stand in the last phase's entry.
        training.logged(**{name: loss for name, loss in found.items() if math.isfinite(loss)})

    def _begin(self, training: Training, strategy: Strategy, batches: Sequence[Batch]) -> float:
        """Choose the allocator by the data and write the first state; the loss of the start."""
        session = training.session
        if self.granularity == "channels":
            choice = self.prune.choice
            allocation, _ = session.allocated(choice, session.caps_due, session.costs())
            found = [(c.method, c.objective) for c in self._candidates(session)]
            chosen = (allocation.method, allocation.objective)
            training.state["candidate"] = found.index(chosen) if chosen in found else 0
            first = allocation.structure
        else:
            first = self._filters(session).first()
        walk = self._walk(training)
        start = walk.tried(first, batches)
        weighted = self.allocator != "threshold" if self.metric is None else self.metric
        metric = None
        if weighted:
            metric = fisher_metric(session, walk.target.graph, batches, self.clips)
        strategy.begin(walk, metric, self.lr)
        return start

    def _walk(self, training: Training) -> Walk:
        session = training.session
        target: Target = self._filters(session)
        if self.granularity == "channels":
            candidate = self._candidates(session)[training.state["candidate"]]
            target = Channels(session, self.prune.choice, candidate)
        return Walk(training, target, self.admm, self.updates)

    def _candidates(self, session: Compression) -> tuple[Candidate, ...]:
        return self.prune.choice.candidates(data=session.data is not None)

    def _filters(self, session: Compression) -> Filters:
        return Filters(session, self.prune.choice, uniform=self.allocator != "threshold")
