"""A compression under way: the model that shrinks, its graph, and what has been removed so far.

`Session` is what `fit` drives, and what you drive inside a training loop of your own:

    session = Session(model, budget=Budget(params=128e3), prune=Prune(steps=5), every=200)
    optimizer = session.optimizer = torch.optim.AdamW(session.model.parameters())
    for inputs, targets in loader:
        loss = cross_entropy(session.model(inputs), targets) + session.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        session.step()
    result = session.finish()
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.allocation import Allocation, allocate
from compressor.arguments import check_fabric, check_follower, check_function
from compressor.batches import Batch
from compressor.budget import Budget, Cost, required
from compressor.calibration import calibration_loss
from compressor.checks import check_data
from compressor.choice import choose
from compressor.copies import private_copy
from compressor.descent import cost, counted, embed, on_the_way, record, recount
from compressor.importance import Scores, frobenius, gradients
from compressor.keep import names_of
from compressor.layers import layers
from compressor.losses import Loss, cross_entropy
from compressor.measure import Example, check_model
from compressor.optimizers import follow, hand_over
from compressor.phases import Prune
from compressor.report import Epoch, Report, Shrink, verdicts, versions
from compressor.result import Result
from compressor.settings import check_whole
from compressor.structure import Structure, full, restrict
from compressor.surgery import cut, shrink
from compressor.trace import trace
from compressor.tracing.program import example_of
from compressor.verify import verify

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.optim import Optimizer


class Session:
    """A model on its way under a budget.

    The session works on a copy of the model. Units are removed physically and in place, so that
    `session.model` stays the same object and an optimiser given to the session follows.

    Attributes:
        original: The model as given; never touched.
        model: The model that shrinks; train this one.
        optimizer: An optimiser over `model`'s parameters that is to follow; may be set at any time.
        dense: Graph of the original.
        graph: Graph of `model` as it is now.
        shrinks: What every removal so far did.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        budget: Budget,
        example: Example | None = None,
        prune: Prune | None = Prune(),  # noqa: B008 - frozen
        every: int | None = None,
        optimizer: Optimizer | None = None,
        data: Iterable[Batch] | None = None,
        loss: Loss = cross_entropy,
        keep: Sequence[str] = (),
        verify: bool = True,
        fabric: Fabric | None = None,
    ) -> None:
        """Trace the model; without `every`, shrink it at once.

        Args:
            model: Any traceable model; in train or eval mode, which the result inherits.
            budget: Hard caps.
            example: An input (or a tuple of inputs) with the batch first; by default
                `model.example_input_array`.
            prune: How to remove units; None to remove nothing but by calling `shrink`.
            every: Optimiser steps (calls of `step`) before each of the shrinks; None for a single
                shrink right now.
            optimizer: An optimiser built on the given model: it is made to work on the copy.
            data: Batches that the importance is measured on; without, it is `frobenius`.
            loss: The loss for that measurement, called as ``loss(model, batch)``.
            keep: Names of layers that lose no channel.
            verify: Check at every shrink that the smaller model computes what the masked one does.
            fabric: Where several processes train one model: they then agree on what to remove.

        Raises:
            TraceError: If the model cannot be written as a graph.
            BudgetError: If no structure meets the budget.
            VerificationError: If a shrunk model differs from its masked original.
            ValueError: If there is no example, the data do not fit the model or can be read only
                once, or an argument is out of range or of the wrong kind.
        """
        if every is not None:
            check_whole("Session", 1, every=every)
        if prune is not None and not isinstance(prune, Prune):
            raise ValueError(f"Session(prune={prune!r}): must be Prune(...), or None")
        check_model(model)
        check_function(loss)
        check_fabric(fabric)
        check_follower(optimizer)
        if data is not None:
            check_data(model, data, loss)
        self.original = model
        self.example = example_of(model, example)
        self.budget = required(budget, "Session")
        self.prune, self.every, self.data, self.loss = prune, every, data, loss
        self.keep = names_of(keep)
        self.checked = verify
        self.fabric = fabric
        self.dense = self.graph = trace(model, self.example, keep=self.keep, check=verify)
        self.model = private_copy(model)
        self.alive: NDArray[np.int64] = np.arange(self.dense.units)
        self.shrinks: list[Shrink] = []
        self.optimizer = optimizer
        self._steps = 0
        if optimizer is not None:
            hand_over(optimizer, model, self.model)
        if prune is not None and every is None:
            self.shrink()

    @property
    def structure(self) -> Structure:
        """What is left of the original."""
        keep = np.zeros(self.dense.units, dtype=bool)
        keep[self.alive] = True
        return Structure(self.dense, keep)

    @property
    def cost(self) -> Cost:
        """Cost of `model` by its graph, with no weight taken for zero."""
        return cost(full(self.graph))

    def penalty(self) -> Tensor:
        """Term to add to the loss: zero, as pruning pulls at no weight while training."""
        weight = next(self.model.parameters())
        return weight.new_zeros(())

    def step(self) -> None:
        """Say that the optimiser made a step; shrinks the model when it is time."""
        self._steps += 1
        if self._left and self.every is not None and self._steps % self.every == 0:
            self.shrink(remaining=self._left)

    def finish(self, log: Sequence[Epoch] = ()) -> Result:
        """Make any shrink that is still due, count the result anew and report.

        Args:
            log: What training there was, for the report.

        Raises:
            VerificationError: If the result's cost is not what was predicted or over a cap.
        """
        if self._left:
            self.shrink()
        after = recount(self.model, self.structure, self.example, self.budget)
        dense, structure = self.dense, self.structure
        report = Report(
            model=type(self.original).__name__,
            budget=self.budget,
            before=counted(self.original, dense),
            after=after,
            layers=layers(self.original, dense, structure),
            elsewhere=dense.const_macs,
            frozen=dict(dense.frozen),
            shrinks=tuple(self.shrinks),
            log=tuple(log),
            versions=versions(),
            count=partial(verdicts, self.original, self.model, self.example),
        )
        return Result(self.model, report, structure)

    def shrink(self, prune: Prune | None = None, *, remaining: int = 1) -> Shrink:
        """Remove units now.

        Args:
            prune: How; the session's own settings by default.
            remaining: How many shrinks lead to the budget, this one included. With one left the
                budget itself is met; with r, every cost over its cap is brought down to
                ``cost ** (1 - 1/r) * cap ** (1/r)``.

        Returns:
            What was done.
        """
        prune = prune or self.prune or Prune()
        caps = on_the_way(self.budget, self.cost, remaining)
        allocation, tried = self._allocate(prune, caps)
        structure = allocation.structure
        difference = None
        if not structure.keep.all():
            difference = self._verify(structure) if self.checked else None
            self._cut(structure)
        self.shrinks.append(record(caps, self.cost, allocation, difference, tried))
        return self.shrinks[-1]

    def check(self, prune: Prune) -> None:
        """Find out whether the budget can be met at all, whatever the importance.

        Raises:
            BudgetError: If it cannot.
        """
        alike = np.ones(self.graph.units)
        allocate(
            self.graph,
            alike,
            self.budget,
            method="uniform",
            floor=prune.floor,
            round_to=prune.round_to,
        )

    def jump(self, alive: NDArray[np.int64], shrinks: Sequence[Shrink]) -> None:
        """Go straight to a structure reached earlier, as a resumed run does.

        Args:
            alive: Numbers of the original's units that are left.
            shrinks: How that structure was reached.
        """
        keep = np.isin(self.alive, alive)
        if not keep.all():
            self._cut(Structure(self.graph, keep))
        self.shrinks = list(shrinks)

    @property
    def _left(self) -> int:
        """Shrinks that are still to be made by the session itself."""
        total = 0 if self.prune is None else self.prune.steps if self.every is not None else 1
        return max(total - len(self.shrinks), 0)

    def _allocate(self, prune: Prune, caps: Budget) -> tuple[Allocation, Mapping[str, float]]:
        """The allocation, and the loss of every candidate where there were several."""
        batches = [] if self.data is None else list(islice(self.data, prune.batches))
        scores = self._reachable if prune.reachable else self._scores(prune, batches)
        candidates = prune.candidates(data=bool(batches))
        found = [
            allocate(
                self.graph, scores, caps,
                method=c.method, objective=c.objective, floor=prune.floor, round_to=prune.round_to,
            )
            for c in candidates
        ]  # fmt: skip
        chosen, losses = choose(found, partial(self._loss, batches))
        names = [allocation.name for allocation in found]
        return chosen, dict(zip(names, losses, strict=True)) if losses else {}

    def _loss(self, batches: Sequence[Batch], structure: Structure) -> float:
        """Loss of what a structure leaves, the same in every process."""
        small = shrink(self.model, self.graph, structure)
        loss = np.array(calibration_loss(small, batches, self.loss))
        return float(self._agreed(loss))

    def _reachable(self, structure: Structure) -> Scores:
        """Raw filter norms over the inputs that `structure` keeps, as the 2022 report has it."""
        return frobenius(
            self.graph, self._tensors, normalise=False, filters_only=True, structure=structure
        )

    @property
    def _tensors(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.model.named_parameters()}

    def _scores(self, prune: Prune, batches: Sequence[Batch]) -> Scores:
        """One score per unit, the same in every process."""
        measured = gradients(self.model, batches, self.loss, clips=prune.clips)
        importance = prune.scored_by(data=self.data is not None)
        return self._agreed(importance(self.graph, self._tensors, measured))

    def _agreed(self, values: Scores) -> Scores:
        """The mean over all processes."""
        if self.fabric is None or self.fabric.world_size == 1:
            return values
        mine = self.fabric.to_device(torch.from_numpy(values))
        return cast("Tensor", self.fabric.all_reduce(mine, reduce_op="mean")).cpu().numpy()

    def _verify(self, structure: Structure) -> float:
        """Compare what `structure` leaves of the model with the masked original, full size.

        The original's operations are run on the present weights, put back where they came from.
        """
        smaller = shrink(self.model, self.graph, structure)
        if self.graph is self.dense:
            return verify(self.model, self.graph, structure, smaller, self.example)
        large = embed(self.original, self.structure, self.model)
        keep = np.zeros(self.dense.units, dtype=bool)
        keep[self.alive[structure.keep]] = True
        return verify(large, self.dense, Structure(self.dense, keep), smaller, self.example)

    def _cut(self, structure: Structure) -> None:
        cuts = cut(self.model, self.graph, structure)
        if self.optimizer is not None:
            follow(self.optimizer, cuts)
        self.alive = self.alive[structure.keep]
        self.graph = restrict(structure)
