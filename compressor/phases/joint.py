"""Width, density and bits together, under one cap on bytes: which mix it is, the data decide."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.allocation import Allocation, LogRetention, Objective, PowerMean, allocate
from compressor.allocation.candidates import MARGIN
from compressor.allocation.coding import BITS, CODES, Code, coded, fisher_diagonal, tables
from compressor.allocation.knapsack import choose_options
from compressor.budget import RESOURCES
from compressor.errors import BudgetError
from compressor.export.micro.arena import head
from compressor.graph.graph import Graph, Polynomial
from compressor.graph.structure import Structure, restrict
from compressor.importance import fisher, gradients
from compressor.inputs.batches import Batch
from compressor.inputs.copies import private_copy
from compressor.inputs.settings import check_whole
from compressor.network import to_network
from compressor.quantization.rounded import rounded_weights
from compressor.run.choice import WidthChoice
from compressor.run.file_size import UNIT, Captured, Footprint, footprint
from compressor.run.judge import Judge
from compressor.run.phase import Phase
from compressor.run.scoring import agreed
from compressor.run.working_memory import program_of
from compressor.surgery.cutting import shrink
from compressor.surgery.masks import largest
from compressor.surgery.scales import factors

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training

WAYS: tuple[tuple[str, Objective], ...] = (("uniform", LogRetention()), ("dual", PowerMean(1)))
"""Choices of widths for every number of bits; see `compressor.allocation.candidates`."""


@dataclass(frozen=True)
class Joint(Phase):
    """Choose width, density and bits together; `Int8` has to end the schedule.

    A byte can be spent on more channels, on more weights of a channel, or on more bits of a weight.
    For every number of bits that a weight may take on average, the widths are chosen under all caps
    (`compressor.allocate`); then every tensor gets the density and the bits that lose least
    (`compressor.allocation.coding`, a multiple-choice knapsack). What is left of the network is
    compared by its loss on the data, rounded and sparse as it would be, with BatchNorm
    recalibrated. Dense tensors of 8 bits stay unless something else is clearly better.

    Where a network is small, its widths count most; fewer than 8 bits pay where a cap is far below
    what the network has.

    Where the cap is on a ``.tflite`` or ``.onnx`` (``Budget(file=...)``), which holds 8 bits for
    every weight whatever its value, width is all there is to choose: it is chosen as by `Prune`.

    Attributes:
        averages: Bits that a weight may take on average, mask included.
        codes: Densities and bits that every tensor is offered.
        floor: Fewest units that any axis keeps.
        round_to: Keep multiples of so many units.
        batches: Most batches that importance and losses are measured on.
        clips: Examples per micro-batch of that measurement.
    """

    averages: tuple[float, ...] = (8.0, 6.0, 5.0, 4.0, 3.0)
    codes: tuple[Code, ...] = CODES
    floor: int = 1
    round_to: int = 1
    batches: int = 16
    clips: int = 4

    lowers = frozenset(RESOURCES)
    cuts = divides_bytes = True
    needs = "Joint measures the loss of every mix"

    def __post_init__(self) -> None:
        """Check the settings."""
        whole = {name: getattr(self, name) for name in ("floor", "round_to", "batches", "clips")}
        check_whole("Joint", 1, **whole)
        averages: object = self.averages
        bits = cast("tuple[object, ...]", averages) if isinstance(averages, (tuple, list)) else ()
        if not bits or not all(isinstance(b, (int, float)) and 1 < b <= 8 for b in bits):
            raise ValueError(
                f"Joint(averages={self.averages!r}): must be a tuple of numbers of bits above 1, "
                "at most 8"
            )
        if not any(code.density == 1 and code.bits == max(BITS) for code in self.codes):
            raise ValueError("Joint(codes=...): must offer Code(1.0, 8), which changes nothing")

    def check(self, session: Compression, earlier: Sequence[Phase]) -> None:
        """Find out whether there is a cap on bytes that can be met.

        Every weight that it keeps counts as one that stays, so nobody after it may make zeros
        (`compressor.phases.order` sees to that).

        Raises:
            BudgetError: If there is none, or no structure meets the caps.
        """
        del earlier
        if session.nothing_due or session.caps_due.bytes is None:
            raise BudgetError(
                f"Joint() divides a cap on bytes, and {session.budget} leaves it none: pass "
                "Budget(bytes='64KiB'), or use Prune()"
            )
        if not session.artefact.sparse:
            self._check_dense(session)
            return
        weights = coded_weights(session.model, rounded_later(session))
        least = priced(footprint(session.stored), weights, min(self.averages))
        allocate(
            session.graph, np.ones(session.graph.units), session.caps_due, method="uniform",
            floor=self.floor, round_to=self.round_to,
            costs={**session.costs(), "bytes": least.form(session.graph)},
        )  # fmt: skip

    def run(self, training: Training, part: int) -> None:
        """Measure, choose, remove and mask."""
        del part
        session = training.session
        if not session.artefact.sparse:
            session.shrink(self._widths)
            training.refresh()
            return
        batches = list(islice(training.batches(whole=True), self.batches))
        training.doing("Joint", len(self.averages) * len(WAYS))
        measured = _Measured(self, session, batches)
        mixes = measured.mixes(training.did)
        best = min(mixes, key=lambda mix: mix.loss)
        chosen = best if best.loss < (1 - MARGIN) * mixes[0].loss else mixes[0]
        sensitivity = measured.sensitivity(chosen.allocation.structure)
        tried = {mix.allocation.name: mix.loss for mix in mixes}
        costs = {**measured.costs, "bytes": chosen.form}
        session.remove(chosen.allocation, measured.caps, tried, costs)
        self._encode(session, sensitivity)
        training.refresh()

    @property
    def _widths(self) -> WidthChoice:
        """The choice of widths where there is nothing else to choose."""
        return WidthChoice(
            floor=self.floor, round_to=self.round_to, batches=self.batches, clips=self.clips
        )

    def _check_dense(self, session: Compression) -> None:
        """Find out whether a file of dense weights of 8 bits can be short enough."""
        if max(self.averages) < max(BITS):
            file = session.artefact
            raise BudgetError(
                f"Joint(averages={self.averages!r}) was asked under {session.budget}, and a "
                f"{file.name} holds {file.holds}: leave averages out, or leave file out of the "
                "budget, as weights of fewer bits are for the file of Result.write"
            )
        session.check(self._widths)

    def _encode(self, session: Compression, sensitivity: Mapping[str, Tensor]) -> None:
        """Give every tensor its density and bits, within what the file really leaves."""
        weights = coded_weights(session.model, rounded_later(session))
        cap, left = session.budget.caps["bytes"], footprint(session.stored)
        room = _room(left, weights, session.graph, session.graph.sizes, cap)
        codes = _codes(self, weights, session.graph, sensitivity, room)
        for name, code in codes.items():
            if code.density < 1:
                weight = weights[name]
                session.masks[name] = largest(weight.abs(), code.kept(weight.numel())).cpu()
        session.choose_bits({n: code.bits for n, code in codes.items() if code.bits < max(BITS)})
        session.hold()


@dataclass(frozen=True)
class Mix:
    """One way to spend the bytes.

    Attributes:
        allocation: The widths; its method names the bits as well.
        form: Bytes of the file by the widths.
        loss: On the data.
    """

    allocation: Allocation
    form: Polynomial
    loss: float


class _Measured:
    """Everything that is measured once, and the mixes made of it."""

    def __init__(self, joint: Joint, session: Compression, batches: Sequence[Batch]) -> None:
        self.joint, self.session, self.batches = joint, session, batches
        self.caps, self.costs = session.caps_due, session.costs()
        self.names = rounded_later(session)
        self.weights = coded_weights(session.model, self.names)
        found = list(gradients(session.model, batches, session.loss, clips=joint.clips))
        tensors = {name: p.detach() for name, p in session.model.named_parameters()}
        self.scores = agreed(session.fabric, fisher(session.graph, tensors, found))
        self._fisher = fisher_diagonal(self.weights, found)
        self._footprint = footprint(session.stored)
        self._judge = Judge(session.model, session.graph, batches, session.loss, 0)

    def mixes(self, did: Callable[[], None]) -> list[Mix]:
        """All that fit the caps: with many bits to a weight none may. `did` is told of each."""
        found, refused = list[Mix](), list[BudgetError]()
        for bits in self.joint.averages:
            for way in WAYS:
                try:
                    found.append(self.mix(bits, *way))
                except BudgetError as error:
                    refused.append(error)
                did()
        if not found:
            raise refused[-1]
        return found

    def mix(self, bits: float, method: str, objective: Objective) -> Mix:
        """Widths for a number of bits, codes for the widths, and the loss of both."""
        session, graph = self.session, self.session.graph
        form = priced(self._footprint, self.weights, bits).form(graph)
        allocation = allocate(
            graph, self.scores, self.caps, method=method, objective=objective,
            floor=self.joint.floor, round_to=self.joint.round_to,
            costs={**self.costs, "bytes": form},
        )  # fmt: skip
        structure = allocation.structure
        small = shrink(session.model, graph, structure)
        self._check_plan(small, structure)
        cap = self.caps.caps["bytes"]
        room = _room(self._footprint, self.weights, graph, structure.widths, cap)
        left, weights = restrict(structure), coded_weights(small, self.names)
        codes = _codes(self.joint, weights, left, self.sensitivity(structure), room)
        with torch.no_grad():
            for name, code in codes.items():
                weights[name].copy_(coded(weights[name], code, _out_dim(left, name)))
        loss = np.array(self._judge.unrepaired(small))
        named = replace(allocation, method=f"{bits:g} bits, {allocation.method}")
        return Mix(named, form, float(agreed(session.fabric, loss)))

    def _check_plan(self, small: nn.Module, structure: Structure) -> None:
        """Refuse widths for which no plan of memory within a cap on RAM is found."""
        session, cap = self.session, self.caps.caps.get("ram")
        if cap is None:
            return
        graph = restrict(structure)
        left = replace(session.stored, model=small, graph=graph, captured=Captured())
        if (found := head(program_of(left))) > cap:
            raise BudgetError(
                f"ram <= {cap:,} was not reached: the tensors that are alive together are within "
                f"it, and the best plan found for them takes {found:,}. Lower the cap a little"
            )

    def sensitivity(self, structure: Structure) -> dict[str, Tensor]:
        """Mean squared gradients of the weights that a structure keeps."""
        held = private_copy(self.session.model)
        for name, weight in coded_weights(held, self.names).items():
            weight.copy_(self._fisher.get(name, torch.zeros_like(weight)))
        small = shrink(held, self.session.graph, structure)
        found = coded_weights(small, self.names)
        # Of a row that is scaled the gradient is divided, and its square twice; so far what was
        # taken for the row has been multiplied.
        for name, scale in factors(structure).items():
            for _ in range(3 if name in found else 0):
                found[name] = scale.unscaled(found[name]).to(found[name].dtype)
        return found


def rounded_later(session: Compression) -> frozenset[str]:
    """Names of the weights that `Int8` will round, and that may be offered fewer bits."""
    return frozenset(rounded_weights(to_network(session.model, session.example)))


def coded_weights(model: nn.Module, names: Collection[str]) -> dict[str, Tensor]:
    """Some of a model's parameters by name; its own memory."""
    return {name: p.detach() for name, p in model.named_parameters() if name in names}


def priced(footprint: Footprint, names: Collection[str], bits: float) -> Footprint:
    """A bound in which an entry of some tensors takes so many bits."""
    entries = dict(footprint.entries) | dict.fromkeys(names, ceil(bits * UNIT / 8))
    return Footprint(entries, footprint.const)


def _room(
    footprint: Footprint, names: Collection[str], graph: Graph, widths: NDArray[np.int64], cap: int
) -> int:
    """Bits that a cap leaves to some tensors, whatever zeros these have by now.

    A code is charged in full for each of them, so that what their zeros save is no room.
    """
    rest = priced(footprint, names, 0).form(graph)(widths)
    return 8 * cap - -(-8 * rest // UNIT)


def _codes(
    joint: Joint,
    weights: Mapping[str, Tensor],
    graph: Graph,
    sensitivity: Mapping[str, Tensor],
    room: int,
) -> dict[str, Code]:
    """The code of every tensor that loses least within so many bits."""
    dims = {name: _out_dim(graph, name) for name in weights}
    costs, losses = tables(weights, sensitivity, dims, joint.codes)
    chosen = choose_options(costs, losses, room)
    return {name: joint.codes[k] for name, k in zip(weights, chosen, strict=True)}


def _out_dim(graph: Graph, name: str) -> int:
    return graph.weights[name].out_dim or 0
