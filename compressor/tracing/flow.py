"""The state of a walk through a program: labels so far, who owns which weight, where it is used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch.fx import Node

from compressor.graph.program import Program, module_of
from compressor.tracing.choices import Choices
from compressor.tracing.couplings import FIXED, Couplings, Ids
from compressor.tracing.labels import Label, Labelled, parts
from compressor.tracing.lines import mark_of

Labels = Labelled | list[Labelled]


@dataclass(frozen=True)
class Use:
    """A weight applied as a convolution or matrix product (ids instead of units, see `Site`)."""

    module: str
    weight: str
    positions: int
    kind: str
    reads: Ids
    writes: Ids
    out_dim: int
    dense: bool
    dims: tuple[Ids, ...] | None = None


@dataclass(frozen=True)
class Multiplied:
    """A product of two activations (ids instead of units, see `Product`)."""

    module: str
    positions: int
    dims: tuple[Ids, ...]


@dataclass(frozen=True)
class Sized:
    """A number in the code that is a power of a size (ids instead of units, see `Size`)."""

    place: int
    power: float
    dims: tuple[Ids, ...]


@dataclass(frozen=True)
class Proportion:
    """Rows of a weight that make queries (ids instead of units, see `Scaled`)."""

    weight: str
    dim: int
    rows: NDArray[np.bool_]
    width: Ids


@dataclass
class Flow:
    """State of the walk through the program.

    Attributes:
        program: The operations.
        shapes: Shape of every weight by name.
        couplings: The ties found so far.
        labels: Label of every node's output.
        owners: Ids of every weight dimension that can shrink: ``(weight name, dim) -> ids``.
        uses: Convolutions and matrix products with a weight, in order.
        products: Products of two activations, in order.
        proportions: Rows that make queries whose width is in their scale.
        channels: Ids of the channels that a module normalises, by module name.
        sizes: Ids of the channels that an attribute of a module counts, by name of the attribute.
        uncounted: Operations whose MACs no `Use` describes (attention, recurrence).
        choices: Readings of operations that can be read in several ways.
        whole: Reason a layer stays whole whose weights have no id of their own, by module name.
        sized: Numbers that follow a size, by name of the operation.
        made: Names of operations whose results are made of weights alone.
        focus: The only label of a tensor that a rule is to see, by name of the node.
    """

    program: Program
    shapes: dict[str, tuple[int, ...]]
    couplings: Couplings = field(default_factory=Couplings)
    labels: dict[str, Labels] = field(default_factory=dict[str, Labels])
    owners: dict[tuple[str, int], Ids] = field(default_factory=dict[tuple[str, int], Ids])
    uses: list[Use] = field(default_factory=list[Use])
    products: list[Multiplied] = field(default_factory=list[Multiplied])
    proportions: list[Proportion] = field(default_factory=list[Proportion])
    channels: dict[str, Ids] = field(default_factory=dict[str, Ids])
    sizes: dict[str, Ids] = field(default_factory=dict[str, Ids])
    uncounted: list[str] = field(default_factory=list[str])
    choices: Choices = field(default_factory=Choices)
    whole: dict[str, str] = field(default_factory=dict[str, str])
    sized: dict[str, Sized] = field(default_factory=dict[str, Sized])
    made: set[str] = field(default_factory=set[str])
    focus: dict[str, Label | None] = field(default_factory=dict[str, Label | None])

    def weight(self, node: object) -> str | None:
        """Name of the weight a node stands for, None for activations and constants."""
        return self.program.weights.get(node.name) if isinstance(node, Node) else None

    def weighs(self, node: object) -> bool:
        """True if a tensor is a weight, or made of weights and constants alone."""
        return isinstance(node, Node) and (node.name in self.made or self.weight(node) is not None)

    def hears(self, node: Node) -> bool:
        """True if a tensor depends on an input of the network."""
        waiting, seen = [node], {node}
        while waiting:
            at = waiting.pop()
            if at.name in self.program.inputs:
                return True
            waiting += [x for x in at.all_input_nodes if x not in seen]
            seen.update(at.all_input_nodes)
        return False

    def note(self, node: Node) -> None:
        """Note an operation whose result is made of weights and constants alone."""
        sources = [x for x in node.all_input_nodes if x.name not in self.program.constants]
        if sources and all(map(self.weighs, sources)):
            self.made.add(node.name)

    def source(self, node: object) -> str:
        """The largest weight that a tensor is made of; a buffer only where nothing else is."""
        waiting, seen, found = [node], set[object](), list[str]()
        while waiting:
            at = waiting.pop()
            if not isinstance(at, Node) or at in seen:
                continue
            seen.add(at)
            name = self.weight(at)
            found += [name] if name is not None else []
            waiting += at.all_input_nodes
        trained = [name for name in found if name in self.program.parameters] or found
        return max(reversed(trained), key=lambda name: int(np.prod(self.shapes[name])))

    def label(self, node: object) -> Label | None:
        """The label of a tensor with one; of one with several that which is looked at."""
        if isinstance(node, Node) and node.name in self.focus:
            return self.focus[node.name]
        found = self.labels_of(node)
        return found[0] if len(found) == 1 else None

    def labels_of(self, node: object) -> tuple[Label, ...]:
        """All labels of a tensor; a weight gets them as soon as it is used as a tensor."""
        if not isinstance(node, Node):
            return ()
        name = self.weight(node)
        if name is not None:
            long = [d for d, size in enumerate(self.shapes[name]) if size > 1]
            return tuple(Label(d, self.own(name, d)) for d in long)
        found = self.labels.get(node.name)
        return () if isinstance(found, list) else parts(found)

    def own(self, name: str, dim: int) -> Ids:
        """The ids of a weight dimension, made on first use. A single entry is never removed."""
        size = self.shapes[name][dim]
        if (name, dim) not in self.owners:
            ids = self.couplings.fresh(size) if size > 1 else np.zeros(size, np.int64)
            self.owners[name, dim] = ids
        return self.owners[name, dim]

    def tie_weight(self, name: str, dim: int, ids: Ids) -> None:
        """Tie a weight dimension to ids (entry by entry)."""
        self.couplings.tie(self.own(name, dim), ids)

    def hold(self, node: object, reason: str) -> None:
        """Freeze everything that a tensor's entries depend on: it is used in an opaque way.

        Where one of its labels is looked at, it is that alone.
        """
        if isinstance(node, Node) and node.name in self.focus:
            label = self.focus[node.name]
            if label is not None:
                self.couplings.freeze(label.ids, reason)
            return
        name = self.weight(node)
        if name is not None:
            for dim, size in enumerate(self.shapes[name]):
                if size > 1:
                    self.couplings.freeze(self.own(name, dim), reason)
            return
        if isinstance(node, Node):
            found = self.labels.get(node.name)
            for tensor in found if isinstance(found, list) else [found]:
                for label in parts(tensor):
                    self.couplings.freeze(label.ids, reason)

    def hold_all(self, nodes: Iterable[object], reason: str) -> None:
        """Freeze what the entries of several tensors depend on."""
        for node in nodes:
            self.hold(node, reason)


def fixed(size: int) -> Ids:
    """Ids of entries that always stay."""
    return np.full(size, FIXED, np.int64)


def place(node: Node) -> str:
    """Name an operation for messages: ``'roll' in 'blocks.0' (net.py:41: x = x.roll(1, 1))``."""
    module = module_of(node)
    target = getattr(node.target, "__name__", str(node.target)).split(".")[0]
    return f"'{target}'" + (f" in '{module}'" if module else "") + mark_of(node)


def site_of(node: Node, weight: str) -> str:
    """The module that owns a weight, for reports; the caller for a bare parameter."""
    owner, _, leaf = weight.rpartition(".")
    return owner if leaf == "weight" else module_of(node) or weight
