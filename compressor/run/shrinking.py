"""A copy of a model that loses units, and all that follows it when it does.

Units are removed physically and in place: `model` stays the same object, and masks, an optimiser
and averaged copies are cut with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.budget import Cost
from compressor.counting.cost import cost_of, counted
from compressor.counting.measuring import measure
from compressor.graph.graph import Graph
from compressor.graph.keep import names_of
from compressor.graph.own import operations_of
from compressor.graph.signature import Operation
from compressor.graph.structure import Structure, check_same_axes, full, restrict
from compressor.inputs.arguments import check_follower
from compressor.inputs.copies import private_copy
from compressor.repair.least_squares import Repaired
from compressor.run.judge import Judge
from compressor.run.optimizers import check_held, follow
from compressor.run.progress import Bar
from compressor.run.unrepaired import Unrepaired, parameters
from compressor.surgery.averages import Averaged, Averages
from compressor.surgery.cutting import cut, shrink
from compressor.surgery.embedding import embed
from compressor.surgery.masks import Masks
from compressor.surgery.proof import verify
from compressor.tracing.tracer import trace

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(frozen=True)
class Closed:
    """No unit can be removed any more.

    Attributes:
        why: The form that the model has taken.
    """

    why: str


class Shrinking:
    """A model that shrinks.

    Attributes:
        given: The model as given; never touched.
        original: The same, or what a change of its input has made of it (see `transform`): what
            `structure` is a part of.
        model: The model that shrinks; train this one.
        example: Its input, batch first.
        keep: Names of layers that lose no channel.
        release: Names of layers that may lose some though not trained.
        operations: Operators of one's own in the model.
        checked: Every removal is verified.
        masks: Single weights that stay zero, by name of their parameter.
        bits: Bits per weight, by parameter, where quantisation is told them.
        closed: The reason why no more units can be removed; None while they can.
        unrounded: The model before it became a network of integers; None while it is not.
        reported: The part of the original that is left, layer by layer, if not `structure`.
        others: More optimisers that follow.
        averages: Averaged copies of `model` that follow, see `average`.
        whole: Graph of the model given.
        before: Its cost.
        dense: Graph of the original.
        within: Prefix of the original's names before those of the model given.
        graph: Graph of `model` as it is now.
        alive: Numbers of the original's units that are left.
        unrepaired: The weights as they were cut last; None before the first cut.
        bar: Shows how far long work is; None shows nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        example: tuple[Tensor, ...],
        *,
        keep: Sequence[str] = (),
        release: Sequence[str] = (),
        verify: bool = True,
        operations: Sequence[Operation] = (),
    ) -> None:
        """Trace the model and copy it.

        Raises:
            TraceError: If the model cannot be written as a graph.
        """
        self.given = self.original = model
        self.example, self.checked = example, verify
        self.keep, self.release = names_of(keep), names_of(release, "release")
        self.operations = operations_of(operations)
        self.dense = self.graph = self.traced(model)
        self.whole, self.before = self.dense, counted(model, self.dense)
        self.within = ""
        self.model = private_copy(model)
        self.averages = Averages(self.model)
        self.masks = Masks()
        self.bits: dict[str, int] = {}
        self.closed: Closed | None = None
        self.reported: Structure | None = None
        self.unrounded: nn.Module | None = None
        self.alive: NDArray[np.int64] = np.arange(self.dense.units)
        self._optimizer: Optimizer | None = None
        self.others: list[Optimizer] = []
        self.unrepaired: Unrepaired | None = None
        self.bar: Bar | None = None

    @property
    def structure(self) -> Structure:
        """The part of the original that is left."""
        keep = np.zeros(self.dense.units, dtype=bool)
        keep[self.alive] = True
        return Structure(self.dense, keep)

    @property
    def optimizer(self) -> Optimizer | None:
        """An optimiser over `model`'s parameters that is to follow.

        Setting it to something that holds none of them is a ValueError.
        """
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer | None) -> None:
        if optimizer is not None:
            check_follower(optimizer, later=True)
            check_held(optimizer, self.model, "session.optimizer")
        self._optimizer = optimizer

    @property
    def optimizers(self) -> list[Optimizer]:
        """All optimisers that follow."""
        return [*([] if self.optimizer is None else [self.optimizer]), *self.others]

    @property
    def cost(self) -> Cost:
        """Cost of `model`: by its graph, with no weight taken for zero, while it has one."""
        return self.measured(self.model) if self.closed else cost_of(full(self.graph))

    @property
    def settled(self) -> str:
        """Deprecated: why `closed`; empty while units can be removed."""
        return "" if self.closed is None else self.closed.why

    @property
    def left(self) -> Structure | None:
        """Deprecated: `reported`."""
        return self.reported

    def traced(self, model: nn.Module, *, keep: Sequence[str] = ()) -> Graph:
        """The graph of a form of the model; `keep` are more layers that lose no channel."""
        return trace(
            model, self.example, keep=(*self.keep, *keep), release=self.release,
            check=self.checked, operations=self.operations,
        )  # fmt: skip

    def measured(self, model: nn.Module) -> Cost:
        """The cost of a form of the model, counted by running it."""
        return measure(model, self.example, operations=self.operations)

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
        dense = self.traced(original)
        check_same_axes(type(self.given).__name__, self.dense, dense)
        keep = self.structure.keep
        self.original, self.dense = original, dense
        self.within = f"{within}.{self.within}"
        self.graph = restrict(Structure(dense, keep)) if not keep.all() else dense
        self._become(model, change)

    def replace(
        self,
        model: nn.Module,
        *,
        settled: str,
        left: Structure | None = None,
        unrounded: nn.Module | None = None,
    ) -> None:
        """Go on with another module in the place of `model`; no unit is removed afterwards.

        Args:
            model: The one that is trained and returned from now on.
            settled: The reason why no unit can be removed any more, for messages.
            left: The part of the original that is left, layer by layer, if not `structure`.
            unrounded: The model that is rounded to integers, for counting.
        """
        self._become(model)
        self.closed = Closed(settled)
        self.reported, self.unrounded = left or self.reported, unrounded or self.unrounded

    def choose_bits(self, bits: Mapping[str, int]) -> None:
        """Tell quantisation to how many bits it is to round the weights of some parameters."""
        self.bits |= bits

    def attach(self, optimizer: Optimizer) -> None:
        """Let an optimiser over the parameters of `model` follow them."""
        self.optimizer = optimizer

    def average(self, averaged: Averaged) -> Averaged:
        """Let an averaged copy of `model` (EMA, SWA) follow (`compressor.surgery.averages`)."""
        self.averages.add(averaged, self.model)
        self.averages.hold(self.masks)
        return averaged

    def hold(self) -> None:
        """Set masked weights to zero, as after every step of an optimiser."""
        self.masks.hold(self.model)
        self.averages.hold(self.masks)

    def remember_cut(self) -> None:
        """Remember the weights as they were cut, before any repair."""
        self.unrepaired = Unrepaired.of({}, self.model)

    def repair(self, how: Callable[[nn.Module], Repaired]) -> Repaired:
        """Repair `model` in place, and remember what it was before; returns what was done."""
        before = parameters(self.model)
        repaired = how(self.model)
        self.hold()
        self.unrepaired = Unrepaired.of(before, self.model)
        return repaired

    def show(self, bar: Bar) -> None:
        """Have a bar count what takes long."""
        self.bar = bar

    def repair_by(self, judge: Judge, structure: Structure) -> Repaired:
        """Repair `model`, which is what a structure left of the judge's."""
        if self.bar is not None:
            self.bar.begin("Repair", len(judge.dense.layers))
            judge.watch = self.bar.advance
        return self.repair(lambda model: judge.repaired(model, structure))

    def unrepair(self, twin: nn.Module) -> bool:
        """Give a copy of `model` the weights as they were cut; False if it was trained since."""
        return self.unrepaired is not None and self.unrepaired.put_into(twin)

    def _become(
        self, model: nn.Module, change: Callable[[nn.Module], nn.Module] | None = None
    ) -> None:
        """Another module in the place of `model`; masks follow by order of the parameters.

        `change` makes of a copy of the one before a copy of the other, where there is such a thing.
        """
        before, after = ([n for n, _ in m.named_parameters()] for m in (self.model, model))
        same = len(before) == len(after)
        names = dict(zip(before, after, strict=True)) if same else {name: name for name in after}
        self.masks.rename(names)
        self.bits = {names[name]: bits for name, bits in self.bits.items() if name in names}
        self.averages.become(self.model, model, change)
        self.model, self.optimizer, self.others = model, None, []

    def _check_open(self, what: str) -> None:
        if self.closed:
            raise ValueError(f"{what}: {self.closed.why}")

    def _cut_checked(self, structure: Structure) -> float | None:
        """Remove what a structure does not keep; the difference that was found, if looked for."""
        self.averages.check()
        difference = self._verify(structure) if self.checked else None
        self._cut(structure)
        return difference

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
        for optimizer in self.optimizers:
            follow(optimizer, cuts)
        self.averages.cut(self.graph, structure)
        self.alive = self.alive[structure.keep]
        self.graph = restrict(structure)
