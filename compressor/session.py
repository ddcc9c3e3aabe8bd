"""A loop of one's own: a compression that goes on by itself while you train.

session = Session(
    model, budget=budget, data=loader,
    schedule=[Joint(), Recalibrate(), FineTune(epochs=30), Int8(epochs=5)],
)
optimizer = session.optimizer = torch.optim.AdamW(session.model.parameters())
for epoch in session.epochs():
    for batch in loader:
        loss = session.batch_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        session.step()
result = session.finish()
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from compressor.budget import Budget, required
from compressor.graph.signature import Operation
from compressor.inputs.arguments import check_directory, check_functions
from compressor.inputs.batches import Batch
from compressor.inputs.example import Example
from compressor.inputs.losses import Loss
from compressor.phases.arguments import (
    ONCE,
    check_alone,
    check_settings,
    check_stored,
    loss_for,
    schedule_for,
)
from compressor.phases.beginning import identity_of
from compressor.phases.prune import Prune
from compressor.phases.schedule import check_reachable
from compressor.reports.certificate import certified
from compressor.reports.result import Result
from compressor.run.checkpoint import Checkpoint
from compressor.run.choice import Chooses, WidthChoice
from compressor.run.claim import claimed
from compressor.run.history import Epoch, Rate, Shrink, Step
from compressor.run.loop_rate import rate_of
from compressor.run.optimizers import OptimizerFactory, adamw, hand_over
from compressor.run.own_loop import OwnLoop, Way
from compressor.run.own_training import OwnTraining
from compressor.run.phase import Phase
from compressor.run.telling import Told

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from compressor.rules import Rule


class Session(OwnLoop):
    """A model on its way under a budget, in a training loop of your own.

    With a schedule it does what `fit` does, but for the training: given the same order of the data
    and an optimiser made by the session, the result is equal bit for bit. Without, it removes units
    by `prune`. `model` is a copy of the model given. Units are removed physically and in place, so
    that it stays the same object and all that follows goes on with it; only where it becomes a
    network with quantisers (`Int8`) or takes fewer rows (`FrequencyMask`) another object takes its
    place, so a loop says `session.model`.

    Attributes:
        prune: Settings of the removals, without a schedule.
        every: Optimiser steps before each of the shrinks; with a schedule, of an epoch.
        optimizer: An optimiser over `model`'s parameters that is to follow; may be set at any time.
            More of them, and averages of the weights: `follow`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        budget: Budget | Rule,
        schedule: Sequence[Phase] | None = None,
        example: Example | None = None,
        prune: Prune | None = ONCE,
        every: int | None = None,
        optimizer: Optimizer | OptimizerFactory | None = None,
        data: Iterable[Batch] | None = None,
        loss: Loss | None = None,
        val: Iterable[Batch] | Callable[[nn.Module], float] | None = None,
        keep: Sequence[str] = (),
        release: Sequence[str] = (),
        verify: bool = True,
        fabric: Fabric | None = None,
        weight_bits: int | None = None,
        operations: Sequence[Operation] = (),
        lr: float | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        on_epoch: Callable[[Sequence[Epoch]], object] | None = None,
        on_step: Callable[[Step], object] | None = None,
    ) -> None:
        """Trace the model, and do all that comes before the first epoch.

        That is what a schedule has before; without one, and without `every`, the one shrink.

        Args:
            model: Any traceable model; in train or eval mode, which the result inherits.
            budget: Hard caps, or a year's rule (`compressor.rules`); bytes are those of the file
                that the schedule ends in; without one, of a file of the model's own numbers, four
                for a weight of float32 (see `weight_bits`), and with ``file=Tflite()`` of the one
                that there will be after ``Int8(preset=TFLM)``.
            schedule: Phases, as for `fit`. What they say of training (rates, their decay, clipping)
                is the loop's own affair unless the session makes the optimisers.
            example: An input or a tuple of them, batch first; else `model.example_input_array`,
                else what the loss shows the model of the data.
            prune: Way to remove units without a schedule; None to remove nothing but by calling
                `shrink`.
            every: Optimiser steps (calls of `step`) before each of the shrinks; None for a single
                shrink right now. With a schedule: steps of an epoch, after which it is over, for
                loops that do not go through `epochs`.
            optimizer: An optimiser built on the given model: it is made to work on the copy. With
                a schedule also what makes one, such as ``torch.optim.AdamW``: then the session
                makes `optimizer` anew for every phase and sets its rates, as `fit` does.
            data: Batches that importance, repair, scales and all else is measured on; without, the
                importance is `frobenius`. Inputs alone will do, as for `fit`.
            loss: The loss for that measurement, and of `batch_loss`; as for `fit`.
            val: As for `fit`: logged after every epoch.
            keep: Names of layers that lose no channel.
            release: Names of layers that may lose some though not trained, as in `trace`.
            verify: Check at every shrink that the smaller model computes what the masked one does.
            fabric: Where several processes train one model: they then agree on what to remove.
            weight_bits: The bits that a weight is stored in, to say that this is known: 32 for
                float32. Without, a session that removes units under a cap on bytes warns.
            operations: Operators of one's own in the model, as in `trace`.
            lr: The rate of the dense training, where the session makes the optimisers; as for
                `fit`.
            checkpoint: A directory, written to after every epoch of the schedule. A loop that was
                killed goes on from there when the same session is made again: make its optimisers,
                copies and schedulers as before, tell the session of them (`optimizer`, `follow`,
                `remember`), and loop over `epochs`. With the same order of data it ends in the same
                bits (on a CPU, if the loop draws from the global generators or from those of `data`
                and `val` alone). One session has the directory until `close`.
            on_epoch: As for `fit`.
            on_step: As for `fit`.

        Raises:
            TraceError: If the model cannot be written as a graph.
            BudgetError: If no structure meets the budget.
            VerificationError: If a shrunk model differs from its masked original.
            ValueError: If an argument is missing, out of range or of the wrong kind.
        """
        check_settings(model, prune, every, optimizer, fabric, schedule)
        alone = prune is not None and schedule is None
        check_stored(model, budget, weight_bits, alone=alone)
        check_functions(on_epoch, None, val, on_step)
        budget = required(budget, "Session")
        if isinstance(data, Tensor) and data.ndim > 1:
            data = data.split(64)
        start = None
        if schedule is None:
            check_alone(val=val, lr=lr, checkpoint=checkpoint, on_epoch=on_epoch, on_step=on_step)
            task = loss_for(model, data, loss)
        else:
            start = schedule_for(model, data, val, schedule, loss, optimizer, lr, fabric)
            task, data = start.loss, start.batches and start.batches.whole
        super().__init__(
            model, budget=budget, example=example, data=data, loss=task, keep=keep,
            release=release, verify=verify, fabric=fabric, operations=operations,
        )  # fmt: skip
        self.prune, self.every = None if schedule is not None else prune, every
        self._steps, self._owned = 0, ExitStack()
        made = optimizer if callable(optimizer) else None
        if optimizer is not None and made is None:
            given = cast("Optimizer", optimizer)
            hand_over(given, model, self.model)
            self.attach(given)
        if start is None:
            if prune is not None and every is None:
                self.shrink()
            return
        check_reachable(self, start.phases)
        first = fabric is None or fabric.is_global_zero
        loaders = (start.batches and start.batches.source, val)
        training = OwnTraining(
            self, data=start.batches, val=start.judge, factory=made, every=every, fabric=fabric,
            told=Told([phase.passes for phase in start.phases], quiet=not first), lr=start.known,
            on_epoch=on_epoch if first else None, on_step=on_step if first else None,
            loaders=loaders,
        )  # fmt: skip
        if checkpoint is None:
            self._way = Way.of(training, start.phases, None)
            return
        check_directory(checkpoint)
        with ExitStack() as owned:  # lets go of the directory if anything fails
            if first:
                owned.enter_context(claimed(checkpoint))
            settings = {"loss": loss, "optimizer": made, "keep": keep, "release": release}
            identity = identity_of(self, start, settings | {"lr": lr, "operations": operations})
            point = Checkpoint(checkpoint, identity, loaders, writes=first)
            self._way = Way.of(training, start.phases, point)
            self._owned.enter_context(owned.pop_all())
        weakref.finalize(self, self._owned.close)

    def step(self, loss: Tensor | float | None = None) -> None:
        """Say that the optimisers made a step: zeros stay zero, and what is due is done.

        Args:
            loss: The loss that it was made on, for the log of a schedule; by default what
                `batch_loss` gave.
        """
        if self._way is not None:
            super().step(loss)
            return
        self.hold()
        self._steps += 1
        if self._due and self.every is not None and self._steps % self.every == 0:
            self.shrink(remaining=self._due)

    def shrink(self, prune: WidthChoice | Chooses | None = None, *, remaining: int = 1) -> Shrink:
        """Remove units now, by the session's own settings where no others are given.

        Args:
            prune: `Prune(...)`.
            remaining: Number of shrinks that lead to the budget, this one included.

        Returns:
            What was done.
        """
        return super().shrink(prune or self.prune or Prune(), remaining=remaining)

    def rate(
        self,
        data: Iterable[Batch] | None = None,
        *,
        optimizer: OptimizerFactory | None = None,
        lr: float | None = None,
    ) -> Rate:
        """Find the learning rate for `model`, after a shrink say; nothing is moved.

        Where nothing was trained since a shrink with repair, trials begin at the weights as they
        were cut.

        Args:
            data: Batches to measure on; by default those of the session.
            optimizer: What makes an optimiser, such as ``torch.optim.AdamW``; by default copies of
                the session's own are tried, if it has one, else AdamW.
            lr: The rate of the dense training, around which is looked; by default that of the
                session's optimiser.

        Returns:
            The rate, `Rate.lr`, with what was tried; see `compressor.rate_of`.

        Raises:
            ValueError: If there is no data, or an argument does not fit.
        """
        data = self.data if data is None else data
        if data is None:
            raise ValueError(
                "session.rate() measures rates on data and the session has none: pass a loader, "
                "session.rate(loader), or Session(..., data=loader)"
            )
        found = rate_of(
            self.model, data, optimizer=optimizer or self.optimizer or adamw, loss=self.loss,
            lr=lr, fabric=self.fabric, hold=self.masks.hold, start=self.unrepair,
        )  # fmt: skip
        self.rates.append(found)
        return found

    def finish(self, log: Sequence[Epoch] = (), *, early: bool = False) -> Result:
        """Do all that is still due, count the result anew and report.

        Args:
            log: The epochs of training, for the report; with a schedule they are known.
            early: Pass over epochs of the schedule that were not trained.

        Raises:
            ValueError: If some were not, and that is not asked for.
            VerificationError: If the result's cost is not what was predicted or over a cap.
        """
        if self._way is not None:
            self.arrive(early=early)
        elif self._due:
            self.shrink()
        pair = None if self._way is None else self._way.training.before_and_after()
        result = certified(self, log or self.log, pair)
        if self._way is not None:
            self._way.training.told.end(result.report.after)
        self.close()
        return result

    def close(self) -> None:
        """Let go of the directory of checkpoints, so that another session can go on from there.

        `finish` does it, and so does the end of ``with Session(...) as session:``, also by an
        error. A session that nobody refers to any more lets go as well; the traceback of an error
        refers to it, as a notebook keeps it.
        """
        self._owned.close()

    def __enter__(self) -> Self:
        """The session itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    @property
    def _due(self) -> int:
        total = 0 if self.prune is None else self.prune.steps if self.every is not None else 1
        return max(total - len(self.shrinks), 0)
