"""The state of a walk through a program: labels so far, who owns which weight, where it is used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from torch.fx import Node

from compressor.graph.program import Program, module_of
from compressor.tracing.choices import Choices
from compressor.tracing.couplings import FIXED, Couplings, Ids
from compressor.tracing.labels import Label
from compressor.tracing.lines import mark_of

Labels = Label | None | list["Label | None"]


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


@dataclass
class Flow:
    """State of the walk through the program.

    Attributes:
        program: The operations.
        shapes: Shape of every weight by name.
        couplings: The ties found so far.
        labels: Label of every node's output.
        owners: Ids of every weight dimension that can shrink: ``(weight name, dim) -> ids``.
        uses: Convolutions and matrix products, in order.
        channels: Ids of the channels that a module normalises, by module name.
        sizes: Ids of the channels that an attribute of a module counts, by name of the attribute.
        uncounted: Operations whose MACs no `Use` describes (attention, recurrence).
        choices: Readings of operations that can be read in several ways.
        whole: Reason a layer stays whole whose weights have no id of their own, by module name.
    """

    program: Program
    shapes: dict[str, tuple[int, ...]]
    couplings: Couplings = field(default_factory=Couplings)
    labels: dict[str, Labels] = field(default_factory=dict[str, Labels])
    owners: dict[tuple[str, int], Ids] = field(default_factory=dict[tuple[str, int], Ids])
    uses: list[Use] = field(default_factory=list[Use])
    channels: dict[str, Ids] = field(default_factory=dict[str, Ids])
    sizes: dict[str, Ids] = field(default_factory=dict[str, Ids])
    uncounted: list[str] = field(default_factory=list[str])
    choices: Choices = field(default_factory=Choices)
    whole: dict[str, str] = field(default_factory=dict[str, str])

    def weight(self, node: object) -> str | None:
        """Name of the weight a node stands for, None for activations and constants."""
        return self.program.weights.get(node.name) if isinstance(node, Node) else None

    def label(self, node: object) -> Label | None:
        """Label of a tensor; a vector-like weight gets one as soon as it is used as a tensor."""
        if not isinstance(node, Node):
            return None
        name = self.weight(node)
        if name is None:
            found = self.labels.get(node.name)
            return found if isinstance(found, Label) else None
        long = [d for d, n in enumerate(self.shapes[name]) if n > 1]
        labelled = [d for d in range(len(self.shapes[name])) if (name, d) in self.owners]
        if len(labelled) == 1:
            return Label(labelled[0], self.owners[name, labelled[0]])
        return Label(long[0], self.own(name, long[0])) if len(long) == 1 else None

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
        """Freeze everything that a tensor's entries depend on: it is used in an opaque way."""
        name = self.weight(node)
        if name is not None:
            for dim, size in enumerate(self.shapes[name]):
                if size > 1:
                    self.couplings.freeze(self.own(name, dim), reason)
            return
        if isinstance(node, Node):
            found = self.labels.get(node.name)
            for label in found if isinstance(found, list) else [found]:
                if label is not None:
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
