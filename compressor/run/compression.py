"""A compression under way: what is to be reached, what has been removed, and what comes next.

This is the state that `fit` and solvers work on, and nobody writes its attributes but itself. What
a stopped run needs to go on it says and takes up again by itself (`snapshot`, `restore`). It checks
no argument: who makes one has done so (`compressor.fit`, `compressor.Session`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from compressor.allocation import Allocation
from compressor.allocation.request import Form, amount
from compressor.budget import Budget, Cost
from compressor.counting.cost import cost_of
from compressor.errors import TraceError
from compressor.export.micro.arena import ram
from compressor.graph.archive import alive_units
from compressor.graph.program import example_of
from compressor.graph.signature import Operation
from compressor.graph.structure import Structure
from compressor.inputs.batches import Batch, first_examples
from compressor.inputs.checks import example_given
from compressor.inputs.copies import private_copy
from compressor.inputs.example import Example
from compressor.inputs.losses import Loss, cross_entropy
from compressor.inputs.tensors import all_tensors, check_tensors, fill
from compressor.repair.least_squares import Repaired
from compressor.run.caps import among, of_network, on_the_way
from compressor.run.choice import Chooses, WidthChoice
from compressor.run.file_size import Captured, NoFile, Stored, artefact_of
from compressor.run.free import Free, folded_blind, folded_on
from compressor.run.history import Rate, Shrink, restored, shrink_of
from compressor.run.judge import Judge, measure_of
from compressor.run.later import Later, settles
from compressor.run.shrinking import Shrinking
from compressor.run.smallest import check_within
from compressor.run.unrepaired import Unrepaired
from compressor.run.widths import allocated
from compressor.run.working_memory import RamCap, memory, program_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from compressor.export.micro.program import Program


class Compression(Shrinking):
    """A model on its way under a budget.

    Attributes:
        budget: The caps, shares as those of the model given.
        data: Batches that importance is measured on, if there are any.
        loss: By which it is measured.
        fabric: The processes that have to agree, if there are several.
        changes: Changes of structure beside removed units, in order: (phase, record).
        ram: The cap on RAM, if there is one.
        artefact: The file that a cap on bytes is on.
        phase: Number of the phase at hand, to which changes are attributed.
        later: The phases that follow it: caps that they meet alone are left to them.
        no_file: The reason why no file can be written; None where one can, or nobody asked.
        shrinks: A record of every removal so far.
        repairs: A record of every repair apart from a removal.
        trained: The dense network is not as it was given: it was trained first.
        rates: Learning rates that were looked for so far, with what was tried.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        budget: Budget,
        example: Example | None = None,
        data: Iterable[Batch] | None = None,
        loss: Loss = cross_entropy,
        keep: Sequence[str] = (),
        release: Sequence[str] = (),
        verify: bool = True,
        fabric: Fabric | None = None,
        operations: Sequence[Operation] = (),
    ) -> None:
        """Trace the model; the arguments are those of `compressor.Session`, checked.

        Raises:
            BudgetError: If RAM is capped, and the model has no `.tflite` file.
            TraceError: If the model cannot be written as a graph.
            ValueError: If there is no example, or names are those of no layers.
        """
        shown = example_of(model, example_given(model, example, data, loss))
        super().__init__(
            model, shown, keep=keep, release=release, verify=verify, operations=operations
        )
        self.data, self.loss, self.fabric = data, loss, fabric
        self.artefact = artefact_of(budget)
        self.changes: list[tuple[int, Any]] = []
        self.phase, self.trained = 0, False
        self.later: Sequence[Later] = ()
        self.no_file: NoFile | None = None
        self.shrinks: list[Shrink] = []
        self.repairs: list[Repaired] = []
        self.rates: list[Rate] = []
        self._captured = Captured()
        self._teacher: nn.Module | None = None
        whole = None if budget.ram is None else memory(self.stored)
        if whole is not None:
            self.before = replace(self.before, ram=whole(self.dense.sizes))
        self.budget = of_network(budget, self.before, self.stored)
        self.ram = None if whole is None else RamCap(self.budget.caps["ram"], whole)

    @property
    def stored(self) -> Stored:
        """Everything that decides how long the file will be."""
        return Stored(
            self.model, self.example, self.graph, self.bits, self.masks, tuple(self.later),
            self._captured, self.artefact,
        )  # fmt: skip

    def costs(self) -> dict[str, Form]:
        """Forms of cost that take the place of the graph's own: bytes of the file, and RAM.

        None of bytes where they have no cap, are left to later phases, or the stored parameters
        count (`no_file`); a BudgetError where a cap is on a `.tflite` and there is none.
        """
        found: dict[str, Form] = {}
        if self.nothing_due:
            return found
        if self.caps_due.ram is not None:
            found["ram"] = memory(self.stored)
        if self.caps_due.bytes is None or self.no_file is not None:
            return found
        try:
            return {"bytes": self.artefact.form(self.stored), **found}
        except TraceError as error:
            self.no_file = NoFile(str(error))
            return found

    def spent(self, costs: Mapping[str, Form]) -> Cost:
        """Cost of `model`, its bytes and RAM by their forms, if there are any."""
        cost, file, memory = super().cost, costs.get("bytes"), costs.get("ram")
        if file is not None:
            cost = replace(cost, bytes=amount(file, self.graph.sizes))
        return cost if memory is None else replace(cost, ram=memory(self.graph.sizes))

    @property
    def program(self) -> Program:
        """What the `.tflite` file of `model` will run; a BudgetError if there is none."""
        return program_of(self.stored)

    @property
    def cost(self) -> Cost:
        """Cost of `model`; its RAM where that has a cap, that of the integers it will become."""
        found = super().cost
        return found if self.ram is None else replace(found, ram=ram(self.program))

    @property
    def predicted(self) -> Cost:
        """Cost of `structure` by the graph of the original, and its RAM where that has a cap."""
        found, known = cost_of(self.structure), None if self.within else self.ram
        return found if known is None else replace(found, ram=known.whole(self.structure.widths))

    @property
    def teacher(self) -> nn.Module:
        """The dense network, in eval mode, without gradients."""
        if self._teacher is None:
            self.teach(self.given)
        return cast("nn.Module", self._teacher)

    def teach(self, dense: nn.Module, *, trained: bool = False) -> None:
        """Make a copy of a dense network the teacher; `trained` says that it is not as given."""
        self.trained = trained
        self._teacher = private_copy(dense).eval().requires_grad_(False)  # noqa: FBT003

    def begin(self, phase: int, later: Sequence[Later]) -> None:
        """Come to a phase of the schedule, by its number and those that follow it."""
        self.phase, self.later = phase, later

    @property
    def caps_due(self) -> Budget:
        """The caps that the phase at hand has to meet; all of them if later ones meet all alone."""
        return among(self._caps_due() or self.budget.caps)

    @property
    def due(self) -> Budget | None:
        """Deprecated: `caps_due`, and None where `nothing_due`."""
        return None if self.nothing_due else self.caps_due

    @property
    def fileless(self) -> str:
        """Deprecated: why there is `no_file`; empty where there is one, or nobody asked."""
        return "" if self.no_file is None else self.no_file.why

    @property
    def nothing_due(self) -> bool:
        """True where later phases meet every cap alone."""
        return not self._caps_due()

    def _caps_due(self) -> dict[str, int]:
        settled = settles(self.later, sparse=self.artefact.sparse)
        caps = self.budget.caps if self.ram is None else self.budget.caps | {"ram": self.ram.left}
        return {name: cap for name, cap in caps.items() if name not in settled}

    def record(self, change: Any) -> None:
        """Remember a change of structure for a resumed run.

        Args:
            change: Tensors and plain data, as `compressor.storage.flatten` takes them: what the
                phase's ``redo(session, change)`` needs to make it again.
        """
        self.changes.append((self.phase, change))

    def penalty(self) -> Tensor:
        """Zero, as pruning pulls at no weight while training.

        Deprecated: nothing has to be added to the loss.
        """
        return next(self.model.parameters()).new_zeros(())

    def shrink(self, prune: WidthChoice | Chooses | None = None, *, remaining: int = 1) -> Shrink:
        """Remove units now.

        Args:
            prune: The choice of widths, such as `Prune()`.
            remaining: Number of shrinks that lead to the budget, this one included. With one left
                the budget itself is met; with r, every cost over its cap is brought down to
                ``cost ** (1 - 1/r) * cap ** (1/r)``.

        Returns:
            What was done.
        """
        self._check_open("units cannot be removed")
        asked = prune or WidthChoice()
        how = asked if isinstance(asked, WidthChoice) else asked.choice
        costs = self.costs()
        caps = on_the_way(self.caps_due, self.spent(costs), remaining)
        free = self._fold(how, caps, costs)
        costs = costs if free is None else self.costs()
        allocation, tried = self.allocated(how, caps, costs)
        self.remove(allocation, caps, tried, costs, how)
        judged = measure_of(self.loss, repaired=how.repair)
        # The form of bytes is exact for the widths before alone, and a plan may need more than RAM.
        found = {"bytes": self.artefact.bound(self.stored)} if "bytes" in costs else {}
        reached = {**self.shrinks[-1].reached, **found}
        self.shrinks[-1] = replace(self.shrinks[-1], free=free, judged=judged, reached=reached)
        over = any(size > caps.caps[name] for name, size in found.items())
        if remaining == 1 and (over or (self.ram and self.ram.exceeded(self.program))):
            return self.shrink(how)
        return self.shrinks[-1]

    def allocated(
        self, choice: WidthChoice, caps: Budget, costs: Mapping[str, Form]
    ) -> tuple[Allocation, Mapping[str, float]]:
        """The units to keep under some caps, and the loss of every way that was compared."""
        return allocated(
            self.stored, choice, caps, costs,
            final=self.budget, data=self.data, loss=self.loss, fabric=self.fabric, bar=self.bar,
        )  # fmt: skip

    def remove(
        self,
        allocation: Allocation,
        caps: Budget,
        tried: Mapping[str, float] = MappingProxyType({}),
        costs: Mapping[str, Form] = MappingProxyType({}),
        choice: WidthChoice | None = None,
    ) -> None:
        """Remove what an allocation for `graph` does not keep, repair what is left, and record it.

        `caps` are those it was to reach, `tried` the loss of every way that was compared, `costs`
        the forms of cost that took the place of the graph's own, `choice` says how to repair; None
        for not at all.
        """
        self._check_open("units cannot be removed")
        structure, difference, repaired = allocation.structure, None, None
        if not structure.keep.all():
            whole = self._judge(choice)
            difference = self._cut_checked(structure)
            self.remember_cut()
            if whole is not None:
                repaired = self.repair_by(whole, structure)
        spent = self.spent(costs)
        self.removed(shrink_of(caps, spent, allocation, difference, tried, repaired))

    def _fold(self, choice: WidthChoice, caps: Budget, costs: Mapping[str, Form]) -> Free | None:
        """Remove what can go at no cost, where anything has to go; None where nothing can.

        An averaged copy of the model, and masks, would not fit what is folded into others; several
        processes might not agree on what is zero.
        """
        several = self.fabric is not None and self.fabric.world_size > 1
        unfit = several or self.averages.any or bool(self.masks)
        if unfit or not choice.fold or not caps.excess(self.spent(costs)):
            return None
        widths = {"floor": choice.floor, "round_to": choice.round_to}
        found = None
        if self.data is not None:
            batches = self._first(self.data, choice)
            found = folded_on(self.model, self.graph, batches, self.loss, **widths)
        if found is None:
            found = folded_blind(self.model, self.graph, self.example, **widths)
        if found is None:
            return None
        fill(self.model, all_tensors(found.model))
        self._cut_checked(found.structure)
        spent = self.spent(self.costs())
        reached = {name: int(getattr(spent, name)) for name in caps.caps}
        return Free(found.gone, found.difference, reached, not caps.excess(spent))

    @staticmethod
    def _first(data: Iterable[Batch], choice: WidthChoice) -> list[Batch]:
        """The data that a choice looks at for folding and repair."""
        return list(first_examples(islice(data, choice.batches), choice.inputs))

    def _judge(self, choice: WidthChoice | None) -> Judge | None:
        """Who repairs what is cut next, if anybody does: a copy of the model as it is now.

        Averaged copies would keep what the model's weights were before repair, so that an average
        of both would be of neither: where there are any nothing is repaired.
        """
        if choice is None or not choice.repair or self.data is None or self.averages.any:
            return None
        batches = self._first(self.data, choice)
        copy, masks = private_copy(self.model), dict(self.masks)
        return (
            Judge(copy, self.graph, batches, self.loss, choice.inputs, masks) if batches else None
        )

    def removed(self, what: Shrink) -> None:
        """Remember a removal for the report."""
        self.shrinks.append(what)

    def check(self, choice: WidthChoice) -> None:
        """Raise a `BudgetError` if the budget cannot be met at all, whatever the importance."""
        floor, round_to = choice.floor, choice.round_to
        check_within(self.stored, self.caps_due, self.costs(), floor=floor, round_to=round_to)

    def snapshot(self) -> dict[str, Any]:
        """Everything that the same call needs to go on from here: tensors and plain data."""
        return {
            "alive": torch.from_numpy(self.alive),
            "model": all_tensors(self.model),
            "shrinks": [asdict(shrink) for shrink in self.shrinks],
            "repairs": [asdict(repair) for repair in self.repairs],
            "unrepaired": None if self.unrepaired is None else asdict(self.unrepaired),
            "rates": [asdict(rate) for rate in self.rates],
            "masks": dict(self.masks),
            "bits": dict(self.bits),
            "changes": list(self.changes),
            "teacher": all_tensors(self.teacher) if self.trained else None,
        }

    def restore(self, state: Mapping[str, Any], redo: Callable[[int, Any], None]) -> None:
        """Take over a snapshot, before anything has happened.

        Args:
            state: The snapshot.
            redo: Makes a change of structure again: called with the number of its phase and the
                record.

        Raises:
            ValueError: If it is no snapshot of a run with this model.
        """
        if state["teacher"] is not None:
            self.teach(self.given, trained=True)
            check_tensors(self.teacher, state["teacher"])
            fill(self.teacher, state["teacher"])
        keep = np.isin(self.alive, alive_units(state["alive"], self.dense.units))
        if not keep.all():
            self._cut(Structure(self.graph, keep))
        self.shrinks = [restored(shrink) for shrink in state["shrinks"]]
        if self.ram is not None and self.shrinks:
            self.ram.resume(self.shrinks[-1].caps)
        self.repairs = [Repaired.of(repair) for repair in state["repairs"]]
        self.rates = [Rate(**rate) for rate in state["rates"]]
        found = state["unrepaired"]
        self.unrepaired = None if found is None else Unrepaired(**found)
        for number, change in state["changes"]:
            redo(number, change)
        self.changes, self.bits = list(state["changes"]), dict(state["bits"])
        self.masks.restore(state["masks"])
        self.masks.check(self.model)
        check_tensors(self.model, state["model"])
        fill(self.model, state["model"])
