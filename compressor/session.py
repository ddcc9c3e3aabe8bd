"""A compression under way: the model that shrinks, its graph, and what has been removed so far.

`Session` is what `fit` drives, and what you drive inside a training loop of your own:

    session = Session(model, budget=budget, prune=Prune(steps=5), every=200, data=loader)
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

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.allocation import Allocation
from compressor.budget import Budget, Cost, required
from compressor.counting.measuring import Example, measure
from compressor.graph.cost import cost_of, counted
from compressor.graph.graph import Quadratic
from compressor.graph.keep import names_of
from compressor.graph.program import example_of
from compressor.graph.structure import Structure, check_same_axes, full, restrict
from compressor.inputs.batches import Batch
from compressor.inputs.checks import check_data, example_given
from compressor.inputs.copies import private_copy
from compressor.inputs.losses import Loss, cross_entropy, loss_of
from compressor.phases.arguments import check_session, check_stored
from compressor.phases.prune import Prune
from compressor.reports.certificate import certified
from compressor.reports.result import Result
from compressor.run.cap_schedule import on_the_way
from compressor.run.file_size import bound, forms, spent
from compressor.run.history import Epoch, Shrink, shrink_of
from compressor.run.later import Later
from compressor.run.optimizers import follow, hand_over
from compressor.run.smallest import check_within
from compressor.run.widths import allocated
from compressor.surgery.averages import Averaged, Averages
from compressor.surgery.cutting import cut, shrink
from compressor.surgery.embedding import embed
from compressor.surgery.masks import Masks
from compressor.surgery.proof import verify
from compressor.tracing.tracer import trace

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.optim import Optimizer

    from compressor.rules import Rule


class Session:
    """A model on its way under a budget.

    The session works on a copy of the model. Units are removed physically and in place, so that
    `session.model` stays the same object and an optimiser given to the session follows.

    Attributes:
        given: The model as given; never touched.
        original: The same, or what a change of its input has made of it (see `transform`): what
            `structure` is a part of.
        teacher: The dense network that `Distill` learns from: the model given, or, after a `Train`
            phase, what it was then.
        model: The model that shrinks; train this one.
        masks: Single weights that stay zero, by name of their parameter.
        changes: What solvers did to the model beside removing units: (phase, record) in order.
        phase: Number of the phase at hand, to which changes are attributed.
        later: The phases that follow it: caps that they meet alone are left to them.
        unrounded: The model before it became a network of integers; None while it is not.
        bits: Bits that quantisation is to give the weights of a parameter, where it is told.
        fileless: Why no file can be written of the model; empty where one can, or nobody asked.
        settled: Why no more units can be removed; empty while they can.
        left: What is left of the original layer by layer, if it is not `structure`.
        optimizer: An optimiser over `model`'s parameters that is to follow; may be set at any time.
        averages: Averaged copies of `model` that follow, see `average`.
        whole: Graph of the model given.
        dense: Graph of the original.
        within: What stands before the names of the model given in those of the original.
        graph: Graph of `model` as it is now.
        shrinks: What every removal so far did.
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
    ) -> None:
        """Trace the model; without `every`, shrink it at once.

        Args:
            model: Any traceable model; in train or eval mode, which the result inherits.
            budget: Hard caps, or a year's rule (`compressor.rules`); bytes are those of a file of
                the model's own numbers, four for a weight of float32 (see `weight_bits`).
            example: An input or a tuple of them, batch first; else `model.example_input_array`,
                else what the loss shows the model of the data.
            prune: How to remove units; None to remove nothing but by calling `shrink`.
            every: Optimiser steps (calls of `step`) before each of the shrinks; None for a single
                shrink right now.
            optimizer: An optimiser built on the given model: it is made to work on the copy.
            data: Batches that the importance is measured on; without, it is `frobenius`.
            loss: The loss for that measurement; as for `fit`.
            keep: Names of layers that lose no channel.
            release: Names of layers that may lose some though not trained, as in `trace`.
            verify: Check at every shrink that the smaller model computes what the masked one does.
            fabric: Where several processes train one model: they then agree on what to remove.
            weight_bits: The bits that a weight is stored in, to say that this is known: 32 for
                float32. Without, a session that removes units under a cap on bytes warns.

        Raises:
            TraceError: If the model cannot be written as a graph.
            BudgetError: If no structure meets the budget.
            VerificationError: If a shrunk model differs from its masked original.
            ValueError: If an argument is missing, out of range or of the wrong kind.
        """
        check_session(model, prune, every, optimizer, fabric)
        check_stored(model, budget, weight_bits, alone=prune is not None)
        loss = loss_of(loss)
        self.budget = required(budget, "Session")
        if data is not None:
            check_data(model, data, loss)
        self.given = self.original = model
        self.example = example_of(model, example_given(model, example, data, loss))
        self.prune, self.every, self.data, self.loss = prune, every, data, loss
        self.keep, self.release = names_of(keep), names_of(release, "release")
        self.checked = verify
        self.fabric = fabric
        self.dense = self.graph = trace(
            model, self.example, keep=self.keep, release=self.release, check=verify
        )
        self.whole, self.before = self.dense, counted(model, self.dense)
        self.within = ""
        self.model = private_copy(model)
        self.averages = Averages(self.model)
        self.masks = Masks()
        self.changes: list[tuple[int, Any]] = []
        self.phase = 0
        self.later: Sequence[Later] = ()
        self.settled = self.fileless = ""
        self.left: Structure | None = None
        self.unrounded: nn.Module | None = None
        self.bits: dict[str, int] = {}
        self._teacher: nn.Module | None = None
        self._trained = False
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
        """Cost of `model`: by its graph, with no weight taken for zero, while it has one."""
        return measure(self.model, self.example) if self.settled else cost_of(full(self.graph))

    @property
    def teacher(self) -> nn.Module:
        """The dense network, in eval mode, without gradients."""
        if self._teacher is None:
            self.teach(self.given)
        return cast("nn.Module", self._teacher)

    @property
    def taught(self) -> bool:
        """Whether the teacher is another than the model given."""
        return self._trained

    def teach(self, dense: nn.Module, *, trained: bool = False) -> None:
        """Make a copy of a dense network the teacher.

        Args:
            dense: The network.
            trained: Whether its tensors are others than those of the model given.
        """
        self._trained = trained
        self._teacher = private_copy(dense).eval().requires_grad_(False)  # noqa: FBT003

    @property
    def due(self) -> Budget | None:
        """The caps that the phase at hand has to meet; None if later ones meet all of them."""
        left = frozenset[str]().union(*(phase.settles for phase in self.later))
        caps = {name: cap for name, cap in self.budget.caps.items() if name not in left}
        return Budget(**caps) if caps else None

    def record(self, change: Any) -> None:
        """Remember a change of structure for a resumed run.

        Args:
            change: Tensors and plain data, as `compressor.storage.flatten` takes them: what the
                phase's ``redo(session, change)`` needs to make it again.
        """
        self.changes.append((self.phase, change))

    def transform(self, change: Callable[[nn.Module], nn.Module], *, within: str) -> None:
        """Change what the network works on (the rows of its input, say), and trace it anew.

        The same is done to the original, so that what was removed so far stays removed and every
        later removal can still be checked against it. Units keep their numbers.

        Args:
            change: Maps the original, and the smaller model likewise, to a changed copy of it. It
                must keep the axes of units, and the order of the parameters.
            within: Name of the submodule of that copy under which all old names are found.

        Raises:
            ValueError: If units cannot be removed any more, or the axes are not the same.
        """
        self._check_open("the input cannot be changed")
        original, model = change(self.original), change(self.model)
        names = ([f"{within}.{n}" for n in part] for part in (self.keep, self.release))
        self.keep, self.release = map(tuple, names)
        dense = trace(
            original, self.example, keep=self.keep, release=self.release, check=self.checked
        )
        check_same_axes(type(self.given).__name__, self.dense, dense)
        keep = self.structure.keep
        self.original, self.dense = original, dense
        self.within = f"{within}.{self.within}"
        self.graph = restrict(Structure(dense, keep)) if not keep.all() else dense
        self._become(model)

    def replace(self, model: nn.Module, *, settled: str, left: Structure | None = None) -> None:
        """Go on with another module in the place of `model`; no unit is removed afterwards.

        Args:
            model: What is trained and returned from now on.
            settled: Why no unit can be removed any more, for the message when one is to be.
            left: What is left of the original layer by layer, where `structure` does not say it.
        """
        self._become(model)
        self.settled, self.left = settled, left or self.left

    def _become(self, model: nn.Module) -> None:
        """Another module in the place of `model`; masks follow by order of the parameters."""
        before, after = ([n for n, _ in m.named_parameters()] for m in (self.model, model))
        same = len(before) == len(after)
        names = dict(zip(before, after, strict=True)) if same else {name: name for name in after}
        self.masks.rename(names)
        self.bits = {names[name]: bits for name, bits in self.bits.items() if name in names}
        self.averages.end(self.model, replaced=True)
        self.averages, self.model, self.optimizer = Averages(model), model, None

    def _check_open(self, what: str) -> None:
        if self.settled:
            raise ValueError(f"{what}: {self.settled}")

    def average(self, averaged: Averaged) -> Averaged:
        """Let an averaged copy of `model` (EMA, SWA) follow (`compressor.surgery.averages`)."""
        self.averages.add(averaged, self.model)
        return averaged

    def penalty(self) -> Tensor:
        """Term to add to the loss: zero, as pruning pulls at no weight while training."""
        return next(self.model.parameters()).new_zeros(())

    def step(self) -> None:
        """Say that the optimiser made a step: zeros stay zero, units go when it is time."""
        self.masks.hold(self.model)
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
        self.averages.end(self.model)
        return certified(self, log)

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
        self._check_open("units cannot be removed")
        prune = prune or self.prune or Prune()
        costs = forms(self)
        caps = on_the_way(self.due or self.budget, spent(self, costs), remaining)
        allocation, tried = allocated(self, prune, caps, costs)
        self.remove(allocation, caps, tried, costs)
        if remaining == 1 and costs and bound(self, self.later) > caps.caps["bytes"]:
            # The form is exact for the widths before alone.
            return self.shrink(prune)
        return self.shrinks[-1]

    def remove(
        self,
        allocation: Allocation,
        caps: Budget,
        tried: Mapping[str, float] = MappingProxyType({}),
        costs: Mapping[str, Quadratic] = MappingProxyType({}),
    ) -> None:
        """Remove what an allocation for `graph` does not keep, and record it.

        Args:
            allocation: Whose structure is to stay.
            caps: What it was to reach.
            tried: Loss of every way that was compared.
            costs: Forms of cost that took the place of the graph's own.
        """
        self._check_open("units cannot be removed")
        structure, difference = allocation.structure, None
        if not structure.keep.all():
            self.averages.check()
            difference = self._verify(structure) if self.checked else None
            self._cut(structure)
        self.shrinks.append(shrink_of(caps, spent(self, costs), allocation, difference, tried))

    def check(self, prune: Prune) -> None:
        """Find out whether the budget can be met at all, whatever the importance.

        Raises:
            BudgetError: If it cannot.
        """
        check_within(self, forms(self), floor=prune.floor, round_to=prune.round_to)

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
        names = {id(p): name for name, p in self.model.named_parameters()}
        cuts = cut(self.model, self.graph, structure)
        self.masks.cut(names, cuts)
        if self.optimizer is not None:
            follow(self.optimizer, cuts)
        self.averages.cut(self.graph, structure)
        self.alive = self.alive[structure.keep]
        self.graph = restrict(structure)
