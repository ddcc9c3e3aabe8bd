"""A bound on the file of a model when its schedule is over, before any training.

Which file that is, a budget says (`Artefact`). What the numbers of our own
(`compressor.network.file.container`) take is known from their count and kind, and deflating can
only make it less: the bound is a function of the widths that no training changes. Later phases say
what they make of a network and of the size of an entry (`run.later`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor, prod

from torch import Tensor, nn

from compressor.allocation.request import Form
from compressor.budget import Budget, File
from compressor.errors import BudgetError
from compressor.graph.graph import Graph, Polynomial, Weight
from compressor.inputs.tensors import named_tensors
from compressor.network import Network, to_network
from compressor.network.file import container
from compressor.run.later import EntryBits, Later

UNIT = 256
"""Parts of a byte that an entry's size is counted in: a quarter of 8 bits is no whole byte."""


@dataclass(frozen=True)
class NoFile:
    """There is no file of a model; a cap on bytes then counts its stored parameters.

    Attributes:
        why: The reason.
    """

    why: str


class Artefact(File, ABC):
    """A file that a cap on bytes is on, as a run asks for it: its length, before and after.

    Attributes:
        sparse: Zeros, and weights of fewer than 8 bits, take less than a byte each in it.
        rounding: The phase without which there is no such file, as messages call it; empty for
            none.
        gathers: Layers may look channels or rows up by number in it.
    """

    sparse: bool = False
    rounding: str = ""
    gathers: bool = True

    @abstractmethod
    def form(self, stored: Stored) -> Form:
        """Most bytes of the file at the end of the later phases, by the widths of the graph.

        Raises:
            BudgetError: If a model has no such file, and nothing else could be counted.
            TraceError: If it cannot be written as a network; its stored parameters count then.
        """

    @abstractmethod
    def bound(self, stored: Stored) -> int:
        """Most bytes of the file of a model as it is, at the end of the later phases.

        Errors as of `form`; a ValueError if the network is none that is stored.
        """

    @abstractmethod
    def content(self, network: Network) -> bytes:
        """The file of a network, as it will lie on the disk."""

    def told(self, stored: Stored) -> str:  # noqa: ARG002
        """What the bytes of `bound` are, for messages; empty where nothing is said."""
        return ""


class OwnFile(Artefact):
    """The file of `Result.write`."""

    name, holds = "file", "fewer bytes for zeros, and for weights of fewer bits"
    sparse = True

    def form(self, stored: Stored) -> Polynomial:
        """Its description at the widths as they are, and the numbers."""
        return footprint(stored).form(stored.graph)

    def bound(self, stored: Stored) -> int:
        """What no deflating is counted in."""
        return bound(stored)

    def content(self, network: Network) -> bytes:
        """With every stream deflated where that helps."""
        return container.pack(network)


OWN = OwnFile()


def artefact_of(budget: Budget) -> Artefact:
    """The file that a budget's cap on bytes is on.

    Raises:
        BudgetError: If it is one of a kind that is not known here.
    """
    if budget.file is None:
        return OWN
    if not isinstance(budget.file, Artefact):
        raise BudgetError(
            f"{budget} is on a {type(budget.file).__name__}, which says nothing of how long it "
            "will be: pass file=compressor.Tflite() or file=compressor.Onnx()"
        )
    return budget.file


class Captured:
    """The network of a model, exported once while its tensors keep their shapes.

    A bound asks for kinds and counts of numbers, which are the same whatever is trained.

    Attributes:
        lengths: Bounds that take long, by what decides them.
    """

    def __init__(self) -> None:
        self._known: tuple[nn.Module, object, Network] | None = None
        self.lengths: dict[object, int] = {}

    def of(self, model: nn.Module, example: tuple[Tensor, ...]) -> Network:
        """The network; not to be changed.

        Raises:
            TraceError: If the model cannot be written as one.
        """
        kinds = [(name, t.shape, t.dtype) for name, t in named_tensors(model)]
        if self._known is None or self._known[0] is not model or self._known[1] != kinds:
            self._known = (model, kinds, to_network(model, example))
        return self._known[2]


@dataclass(frozen=True)
class Stored:
    """Everything that decides how long a file will be.

    Attributes:
        model: As it is now.
        example: Its input.
        graph: Its graph, from which the number of every tensor's entries is known.
        bits: Bits per weight, by parameter, where they were chosen.
        masks: Entries that live, by parameter, where some do not.
        later: The phases that are still to come.
        captured: The network of the model, where it was exported before.
        artefact: The file that is meant.
    """

    model: nn.Module
    example: tuple[Tensor, ...]
    graph: Graph
    bits: Mapping[str, int]
    masks: Mapping[str, Tensor]
    later: Sequence[Later] = ()
    captured: Captured = field(default_factory=Captured)
    artefact: Artefact = OWN


@dataclass(frozen=True)
class Footprint:
    """A bound on the length of a file, in bytes, as a function of the widths.

    Attributes:
        entries: Size of an entry of each tensor, in 256ths of a byte, by its name.
        const: Bytes that no width changes.
    """

    entries: Mapping[str, int]
    const: int

    def form(self, graph: Graph) -> Polynomial:
        """The bound for the structures of a graph."""
        return graph.priced(self.entries, self.const * UNIT, UNIT)

    def __call__(self, graph: Graph) -> int:
        """The bound for all of a graph, in bytes."""
        return ceil(Fraction(self.form(graph)(graph.sizes), UNIT))


def footprint(stored: Stored) -> Footprint:
    """The bound for a model at the end of the later phases; exact for the model as it is.

    Raises:
        TraceError: If the model cannot be written as a network, so that there is no file.
    """
    end, graph = _End.of(stored), stored.graph
    entries = {w.name: end.entry(w) for w in graph.weights.values()}
    counted = sum(
        size * prod(dim.size for dim in graph.weights[name].dims) for name, size in entries.items()
    )
    return Footprint(entries, max(ceil(end.bound() - Fraction(counted, UNIT)), 0))


def bound(stored: Stored) -> int:
    """Most bytes that the file of a model can have at the end of the later phases.

    Raises:
        TraceError: If the model cannot be written as a network, so that there is no file.
    """
    return _End.of(stored).bound()


def most_alive(stored: Stored) -> int:
    """Most non-zero parameters that phases none of which looks at the cap will leave."""
    total = Fraction()
    for weight in stored.graph.weights.values():
        shares = [phase.density_after(weight) for phase in stored.later]
        total += weight.trainable * _size(stored, weight) * min((Fraction(1), *shares))
    return round(total)


def affordable(stored: Stored, cap: int, names: Collection[str]) -> int:
    """The number of entries of some parameters that can be other than zero under a cap on bytes.

    Every one of these tensors is counted as a mask and its other entries; one that is smaller
    without a mask has none, and takes less.

    Raises:
        TraceError: If the model cannot be written as a network, so that there is no file.
    """
    end = _End.of(stored)
    weights = [w for w in stored.graph.weights.values() if w.name in names]
    sizes = {w.name: _size(stored, w) for w in weights}
    bits = {w.name: end.bits(w, end.least_density(w)) for w in weights}
    dense = sum(sizes[name] * bits[name] for name in sizes)
    room = 8 * (cap - container.bound(end.made)) + dense
    if dense <= room:
        return sum(sizes.values())
    masks = sum(8 * ceil(Fraction(size, 8)) for size in sizes.values())
    return max(floor((room - masks) / max(bits.values())), 0)


def sparse(bits: Fraction, share: Fraction) -> Fraction:
    """Bits that an entry takes, on average, where only a share of them is not zero."""
    return min(bits, share * bits + 1)


@dataclass(frozen=True)
class _End:
    """The model as the later phases will leave it: a network in shape, and changes of entries."""

    stored: Stored
    made: Network
    changes: tuple[EntryBits, ...]

    @staticmethod
    def of(stored: Stored) -> _End:
        made, changes = stored.captured.of(stored.model, stored.example), list[EntryBits]()
        for phase in stored.later:
            changes.append(phase.bits_after(made))  # by what it is given, so before it is changed
            made = phase.network_after(made, stored.bits)
        return _End(stored, made, tuple(changes))

    def bound(self) -> int:
        """The network's own, less what zeros save, masked by now or made by the phases."""
        saved = Fraction()
        for weight in self.stored.graph.weights.values():
            less = self.bits(weight, Fraction(1)) - self.bits(weight, self._density(weight))
            saved += _size(self.stored, weight) * less / 8
        return container.bound(self.made) - floor(saved)

    def entry(self, weight: Weight) -> int:
        """Size of an entry at the end, in 256ths of a byte."""
        return ceil(self.bits(weight, self._density(weight)) * UNIT / 8)

    def bits(self, weight: Weight, density: Fraction) -> Fraction:
        """Bits of an entry at the end, where a share of them is not zero."""
        bits = Fraction(8 * weight.itemsize)
        for changed in self.changes:
            bits = changed(weight, bits)
        return sparse(min(bits, Fraction(self.stored.bits.get(weight.name, bits))), density)

    def least_density(self, weight: Weight) -> Fraction:
        """The share of entries that the phases leave."""
        shares = (phase.density_after(weight) for phase in self.stored.later)
        return min((Fraction(1), *shares))

    def _density(self, weight: Weight) -> Fraction:
        """The share that they and the masks leave."""
        live = self.stored.masks.get(weight.name)
        held = 1 if live is None else Fraction(int(live.sum()), max(live.numel(), 1))
        return min(Fraction(held), self.least_density(weight))


def _size(stored: Stored, weight: Weight) -> int:
    """Entries of a tensor as it is now: slim layers have fewer than their graph says."""
    now = dict(named_tensors(stored.model)).get(weight.name)
    return 0 if now is None else now.numel()
