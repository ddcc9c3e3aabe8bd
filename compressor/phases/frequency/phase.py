"""Select rows of a spectrogram and remove the others, under a budget of multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from compressor.errors import BudgetError
from compressor.inputs.batches import Batch
from compressor.inputs.losses import Distill
from compressor.inputs.settings import check_number, check_whole
from compressor.inputs.tensors import all_tensors, fill
from compressor.phases.admm import Best
from compressor.phases.admm.state import copied
from compressor.phases.frequency.checks import check_rows, of_one_height
from compressor.phases.frequency.gates import row_gradients
from compressor.phases.frequency.learning import Learner, Search
from compressor.phases.frequency.masks import MASK, Learned, Moment, RowScores, fisher
from compressor.phases.frequency.removal import SessionRows, remove
from compressor.phases.frequency.select import Rows
from compressor.run.later import lowers
from compressor.run.lesson import Lesson
from compressor.run.phase import Phase, Teaching
from compressor.surgery.masks import largest
from compressor.wording import brief

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training

REMOVED, TUNED = "removed", "tuned"
"""What a phase remembers once rows are gone, and once it has trained without them."""

UNKNOWN = 100
"""Steps an epoch is taken to have before the first one, where the loader does not know."""


@dataclass(frozen=True)
class FrequencyMask(Teaching):
    """Keep some rows of the input (mel bands) and remove the others.

    Source: the 2022 report of the FAU, section 2.2: ``min f(w * X) subject to card(w) <= C`` by
    ADMM, in three phases, of which the first, training the network, is a phase of its own. Then the
    mask is learned beside the weights for `epochs`, at a fixed dual step and a falling learning
    rate, and the rows that are left are fine-tuned (section 3.3: 5 and 2 epochs, the rate falling
    from 0.001 to 0.0001 over all 7, linearly here; the text says "gradually"). Different here:

    * Masked rows cost the same MACs, so the rows are removed (`compressor.phases.frequency`) and
      the fine-tune runs on the shorter input. The result is a `Rows` that takes whole spectrograms;
      its ``.network`` takes the rows that are left.
    * Rows are chosen by their Fisher scores, at once, which has nothing to tune; all epochs then
      train on the removed form. ``by=AdmmMask()`` is the report's method. On ESC-50 rows at random
      do as well as any choice, ADMM's included; of what finds planted rows, Fisher scores are the
      best (`benchmarks/accuracy/selection.md`).
    * A learned mask that has not changed for `settle` epochs is done with: the rows go at once, and
      the epochs that are left train on the removed form, which is worth more to few rows.
    * With a learned mask, what is removed in the end is the best, by calibration loss, of the start
      (its one-shot mask with the weights as they came) and of the masks after every epoch (each
      with the weights it was found with).

    Attributes:
        keep: Number of rows to keep; a model with fewer keeps those. None for the most with which
            the budget's MACs are met, but at least the share `least` of them: what rows cannot save
            is left to solvers after this one.
        by: Way to choose rows: a function of gradients
            (`compressor.phases.frequency.masks.RowScores`), or settings of a mask that is learned.
        epochs: Epochs of learning the mask; on the removed form where none is learned.
        fine_tune: Epochs after that, on the removed form.
        settle: Epochs in a row in which a learned mask stays the same before rows are removed; None
            to learn it for all of `epochs`, as in the report.
        lr: Learning rate at the start of both.
        last: Learning rate at the end of both.
        weight_decay: Weight decay of both, on filters alone.
        distill: What both learn from the dense network, beside the targets.
        on_input: Multiply the input itself by factors, as equation 1 is printed, whatever norm
            follows; else where rows end (`compressor.phases.frequency.gates` says why).
        least: Smallest share of rows that ``keep=None`` leaves.
        dim: The input's dimension that holds the rows.
        batches: Most batches that the scores and the calibration loss are measured on.
        clips: Examples per micro-batch of the scores.
    """

    keep: int | None = None
    by: RowScores | Learned = fisher
    epochs: int = 5
    fine_tune: int = 2
    settle: int | None = 2
    lr: float = 1e-3
    last: float = 1e-4
    weight_decay: float = 1e-3
    distill: Distill | None = None
    on_input: bool = False
    least: float = 0.5
    dim: int = 2
    batches: int = 16
    clips: int = 4

    def __post_init__(self) -> None:
        """Check the settings."""
        name = type(self).__name__
        check_whole(name, epochs=self.epochs, fine_tune=self.fine_tune)
        check_whole(name, 1, dim=self.dim, batches=self.batches, clips=self.clips)
        check_number(name, lr=self.lr, last=self.last, weight_decay=self.weight_decay)
        check_number(name, least=self.least)
        given = {"keep": self.keep, "settle": self.settle}
        check_whole(name, 1, **{key: n for key, n in given.items() if n is not None})
        if self.least > 1 or not self.lr > 0:
            raise ValueError(f"{self}: least must be a share up to 1, and lr more than 0")
        if isinstance(self.by, type) or not (callable(self.by) or isinstance(self.by, Learned)):
            raise ValueError(
                f"FrequencyMask(by={brief(self.by)}): must be a function of gradients such as "
                "compressor.phases.frequency.masks.fisher, or a mask to learn such as AdmmMask()"
            )
        if isinstance(self.by, Learned) and not self.epochs:
            raise ValueError(
                f"FrequencyMask(by={brief(self.by)}, epochs=0): a mask that is learned needs epochs"
            )

    # Parameters fall only where a layer reads rows one by one, and then by little.
    lowers = frozenset({"macs"})
    cuts = True

    @property
    def trains(self) -> bool:
        """True if there are steps of an optimiser."""
        return self._epochs > 0

    @property
    def passes(self) -> int:
        """Every epoch."""
        return self._epochs

    @property
    def length(self) -> int:
        """Every epoch, and the removal."""
        return self._epochs + 1

    def rate(self, over: float) -> float:
        """Factor of the learning rate when the share `over` of all epochs is done."""
        return 1 + over * (self.last / self.lr - 1)

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:
        """Find out whether model and loss run on so many rows, and whether that can be enough.

        Raises:
            BudgetError: If there is no MAC cap to go by, or rows alone cannot meet it, or there is
                one on RAM or a `.tflite`.
            ValueError: If the model or the loss does not run on so many rows, or there is no data.
        """
        if session.data is None:
            raise ValueError("FrequencyMask measures and trains on data and fit was given none")
        if session.budget.ram is not None or not session.artefact.gathers:
            raise BudgetError(
                f"{session.budget} was asked, and FrequencyMask() leaves a network that looks rows "
                "of its input up by number, which no .tflite file does: leave it out"
            )
        if self.keep is None and session.budget.macs is None:
            raise BudgetError(
                f"FrequencyMask() was to keep as many rows as the MACs allow, and {session.budget} "
                "says nothing of MACs: pass Budget(macs=...), or FrequencyMask(keep=192)"
            )
        rows = self._rows(session)
        count = self._count(session, rows)
        if count < rows.count:
            check_rows(session, rows.select(rows.seen[:count]), self.dim)
        others = (*earlier, *session.later)
        cap, left = session.budget.caps.get("macs"), rows.macs(count)
        if cap is None or left <= cap:
            return
        if not any("macs" in lowers(phase) for phase in others):
            raise BudgetError(
                f"{session.budget} was asked of a {type(session.given).__name__} that has "
                f"{left:,} MACs with {count} of its {rows.count} rows: put Prune() after "
                f"FrequencyMask, keep fewer rows, or lower least= (now {self.least})"
            )

    def lessons(self, training: Training, part: int) -> Iterator[Lesson]:
        """Learn for one epoch, remove the rows, or fine-tune for one epoch."""
        learned = self.epochs if isinstance(self.by, Learned) else 0
        removed = training.state.get(REMOVED, False)
        if part < learned and not removed:
            yield from self._learn(training, part)
        elif part == learned and not removed:
            self._remove(training)
        elif part != learned:
            yield from self._tune(training, part - (part > learned))

    def redo(self, session: Compression, change: Any) -> None:
        """Remove the same rows again."""
        remove(session, change["keep"], self.dim)

    def _tune(self, training: Training, number: int) -> Iterator[Lesson]:
        if not training.state.get(TUNED, False):
            training.start(self.lr, self.weight_decay)
        training.state[TUNED] = True
        loss, session = training.distilled(self.distill), training.session
        lost = isinstance(session.model, Rows)
        with of_one_height(session, self.dim) if lost else nullcontext():
            yield Lesson("FrequencyMask", number, self._epochs, loss, self.rate)

    @property
    def _epochs(self) -> int:
        return self.epochs + self.fine_tune

    def _rows(self, session: Compression) -> SessionRows:
        rows = SessionRows.of(session, self.dim)
        return replace(rows, graph=replace(rows.graph, gates={})) if self.on_input else rows

    def _count(self, session: Compression, rows: SessionRows) -> int:
        """Number of rows to keep; an error if the model does not run on so many."""
        if self.keep is not None:
            if self.keep < rows.count:
                rows.select(rows.seen[: self.keep])
            return min(self.keep, rows.count)
        cap = None if session.nothing_due else session.caps_due.caps.get("macs")
        least = math.ceil(self.least * rows.count)
        return rows.count if cap is None else rows.within(cap, least)

    def _remove(self, training: Training) -> None:
        """Choose the rows, at once or by what was learned, and remove the others."""
        session, state = training.session, training.state
        rows = self._rows(session)
        search = Search.of(state)
        if search is not None:
            fill(session.model, dict(search.best.weights))
            mask = search.best.point[MASK]
        elif isinstance(self.by, Learned):
            mask = torch.ones(rows.count, dtype=torch.bool)
        else:
            mask = self._measured(session, rows, self.by)
        state.clear()
        state[REMOVED] = True
        if not bool(mask.all()):
            keep = rows.named(mask)
            remove(session, keep, self.dim)
            session.record({"keep": keep})
            training.refresh()

    def _measured(self, session: Compression, rows: SessionRows, scores: RowScores) -> Tensor:
        """The rows with the highest scores; among equals the first."""
        count = self._count(session, rows)
        if count == rows.count:
            return torch.ones(count, dtype=torch.bool)
        return largest(scores(self._gradients(session, rows)), count)

    def _gradients(self, session: Compression, rows: SessionRows) -> Tensor:
        batches, model = self._batches(session), session.model
        with of_one_height(session, self.dim):
            return row_gradients(model, rows.graph, batches, session.loss, clips=self.clips)

    def _batches(self, session: Compression) -> list[Batch]:
        return list(islice(session.data or (), self.batches))

    def _learn(self, training: Training, part: int) -> Iterator[Lesson]:
        """One epoch of weights and mask, then an update, and the better of it and the best."""
        session, by = training.session, cast("Learned", self.by)
        rows = self._rows(session)
        if part == 0:
            training.start(self.lr, self.weight_decay)
            training.state |= self._begin(session, rows, by)
        search, loss = Search.of(training.state), training.distilled(self.distill)
        if search is None:
            yield Lesson("FrequencyMask", part, self._epochs, loss, self.rate)
            return
        learner = Learner(by, session, rows.graph, search.memory)
        with of_one_height(session, self.dim):
            yield Lesson(
                "FrequencyMask", part, self._epochs, learner.loss(loss), self.rate,
                after=learner.step,
            )  # fmt: skip
        moment = Moment(learner.lr, learner.steps, (part + 1) / self.epochs)
        numbers = by.update(search.memory, moment)
        chosen = by.chosen(search.memory)
        search = search.then(self._better(session, rows, search.best, part + 1, chosen), chosen)
        training.state |= search.tree()
        numbers["calibration loss"] = search.best.loss
        # What an update says belongs to the epoch before it, which is in the log by now.
        training.logged(**numbers)
        if self.settle is not None and search.still >= self.settle:
            self._remove(training)

    def _begin(self, session: Compression, rows: SessionRows, by: Learned) -> dict[str, Any]:
        """The first mask: what the Fisher scores choose at once. Empty where no row has to go."""
        count = self._count(session, rows)
        if count == rows.count:
            return {}
        saliency = fisher(self._gradients(session, rows))
        steps = getattr(session.data, "length", None) or UNKNOWN
        mask = largest(saliency, count)
        best = Best.none().or_better(math.inf, 0, {MASK: mask}, all_tensors(session.model))
        return Search(best, mask, 0, by.begin(saliency, count, steps)).tree()

    def _better(
        self, session: Compression, rows: SessionRows, best: Best, update: int, mask: Tensor
    ) -> Best:
        """The better of the best so far and of what is there now, on the same batches."""
        batches, now = self._batches(session), all_tensors(session.model)
        found = rows.loss(mask, batches, session.loss)
        here = copied(now)
        fill(session.model, dict(best.weights))
        before = rows.loss(best.point[MASK], batches, session.loss)
        fill(session.model, here)
        return replace(best, loss=before).or_better(found, update, {MASK: mask}, here)
