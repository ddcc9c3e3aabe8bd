"""A loop of one's own: a compression that shrinks by itself while you train.

session = Session(model, budget=budget, prune=Prune(steps=5), every=200, data=loader)
optimizer = session.optimizer = torch.optim.AdamW(session.model.parameters())
for inputs, targets in loader:
    loss = cross_entropy(session.model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    session.step()
result = session.finish()
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from compressor.budget import Budget, required
from compressor.graph.signature import Operation
from compressor.inputs.arguments import check_fabric, check_follower
from compressor.inputs.batches import Batch, Batches
from compressor.inputs.checks import check_data, first_batch
from compressor.inputs.example import Example
from compressor.inputs.losses import Loss, cross_entropy, loss_of
from compressor.inputs.settings import check_whole
from compressor.inputs.unlabelled import Unlabelled, check_alike, is_unlabelled
from compressor.phases.prune import Prune
from compressor.reports.certificate import certified
from compressor.reports.result import Result
from compressor.run.choice import Chooses, WidthChoice
from compressor.run.compression import Compression
from compressor.run.history import Epoch, Rate, Shrink
from compressor.run.loop_rate import rate_of
from compressor.run.optimizers import OptimizerFactory, adamw, hand_over
from compressor.run.unfinished import check_given
from compressor.wording import brief

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.optim import Optimizer

    from compressor.rules import Rule


class Session(Compression):
    """A model on its way under a budget, in a training loop of your own.

    `model` is a copy of the model given. Units are removed physically and in place, so that it
    stays the same object and an optimiser given to the session follows.

    Attributes:
        prune: Settings of the removals.
        every: Optimiser steps before each of the shrinks.
        optimizer: An optimiser over `model`'s parameters that is to follow; may be set at any time.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        budget: Budget | Rule,
        example: Example | None = None,
        prune: Prune | None = Prune(),  # noqa: B008 - frozen
        every: int | None = None,
        optimizer: Optimizer | None = None,
        data: Iterable[Batch] | None = None,
        loss: Loss = cross_entropy,
        keep: Sequence[str] = (),
        release: Sequence[str] = (),
        verify: bool = True,
        fabric: Fabric | None = None,
        weight_bits: int | None = None,
        operations: Sequence[Operation] = (),
    ) -> None:
        """Trace the model; without `every`, shrink it at once.

        Args:
            model: Any traceable model; in train or eval mode, which the result inherits.
            budget: Hard caps, or a year's rule (`compressor.rules`); bytes are those of a file of
                the model's own numbers, four for a weight of float32 (see `weight_bits`), and with
                ``file=Tflite()`` of the one that there will be after ``Int8(preset=TFLM)``.
            example: An input or a tuple of them, batch first; else `model.example_input_array`,
                else what the loss shows the model of the data.
            prune: Way to remove units; None to remove nothing but by calling `shrink`.
            every: Optimiser steps (calls of `step`) before each of the shrinks; None for a single
                shrink right now.
            optimizer: An optimiser built on the given model: it is made to work on the copy.
            data: Batches that the importance is measured on, and repair; without, it is
                `frobenius`. Inputs alone will do, as for `fit`.
            loss: The loss for that measurement; as for `fit`.
            keep: Names of layers that lose no channel.
            release: Names of layers that may lose some though not trained, as in `trace`.
            verify: Check at every shrink that the smaller model computes what the masked one does.
            fabric: Where several processes train one model: they then agree on what to remove.
            weight_bits: The bits that a weight is stored in, to say that this is known: 32 for
                float32. Without, a session that removes units under a cap on bytes warns.
            operations: Operators of one's own in the model, as in `trace`.

        Raises:
            TraceError: If the model cannot be written as a graph.
            BudgetError: If no structure meets the budget.
            VerificationError: If a shrunk model differs from its masked original.
            ValueError: If an argument is missing, out of range or of the wrong kind.
        """
        _check(model, prune, every, optimizer, fabric)
        _check_stored(model, budget, weight_bits, alone=prune is not None)
        loss = loss_of(loss)
        budget = required(budget, "Session")
        if isinstance(data, Tensor) and data.ndim > 1:
            data = data.split(64)
        if data is not None:
            if loss is cross_entropy and is_unlabelled(first_batch(Batches(data))):
                check_alike(data)
                loss = Unlabelled()
            check_data(model, data, loss)
        super().__init__(
            model, budget=budget, example=example, data=data, loss=loss, keep=keep,
            release=release, verify=verify, fabric=fabric, operations=operations,
        )  # fmt: skip
        self.prune, self.every = prune, every
        self._steps = 0
        if optimizer is not None:
            hand_over(optimizer, model, self.model)
            self.attach(optimizer)
        if prune is not None and every is None:
            self.shrink()

    def step(self) -> None:
        """Say that the optimiser made a step: zeros stay zero, units go when it is time."""
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

    def finish(self, log: Sequence[Epoch] = ()) -> Result:
        """Make any shrink that is still due, count the result anew and report.

        Args:
            log: The epochs of training, for the report.

        Raises:
            VerificationError: If the result's cost is not what was predicted or over a cap.
        """
        if self._due:
            self.shrink()
        return certified(self, log)

    @property
    def _due(self) -> int:
        total = 0 if self.prune is None else self.prune.steps if self.every is not None else 1
        return max(total - len(self.shrinks), 0)


def _check(
    model: nn.Module, prune: object, every: int | None, optimizer: object, fabric: object
) -> None:
    if every is not None:
        check_whole("Session", 1, every=every)
    if prune is not None and not isinstance(prune, Prune):
        raise ValueError(
            f"Session(prune={brief(prune)}): must be Prune(...), or None; a schedule of several "
            "phases goes to fit(..., schedule=[...])"
        )
    check_given(model)
    check_fabric(fabric)
    check_follower(optimizer)


def _check_stored(model: nn.Module, budget: object, bits: int | None, *, alone: bool) -> None:
    """Check that who caps the bytes of a session knows what they count.

    `fit` divides bytes and rounds weights; a session rounds nothing, so that the same cap leaves a
    quarter of the weights. `bits` are those that a weight is said to be stored in, if anything is
    said; `alone` that the session itself removes units.
    """
    kinds = {p.dtype: 8 * p.element_size() for p in model.parameters()}
    names = " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
    rounded = "compressor.fit(..., schedule=[Prune(), Int8()]) prunes for a file of 8-bit weights"
    if bits is not None and {bits} != set(kinds.values()):
        raise ValueError(
            f"Session(weight_bits={bits!r}): the weights of this {type(model).__name__} are {names}"
            f" and stay so, as a session rounds nothing; {rounded}"
        )
    cap = budget.bytes if isinstance(budget, Budget) else None
    other = isinstance(budget, Budget) and budget.file is not None
    if cap is not None and not other and bits is None and alone:
        warnings.warn(
            f"Session(budget={budget}) counts a file of {names} weights, as a session rounds "
            f"nothing: {rounded}. If that is what is wanted, say "
            f"weight_bits={max(kinds.values(), default=32)}",
            stacklevel=3,
        )
