"""A program as the steps that channels take through it: what `reach` walks over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from torch.fx import Node

from compressor.graph.graph import Dim, Graph
from compressor.graph.memory import aliases, root
from compressor.graph.program import in_place
from compressor.phases.filters.rules import Flow, flow_of
from compressor.phases.filters.uncoupled import Bools, Split


@dataclass(frozen=True)
class Step:
    """One operation, as far as channels are concerned. Units are those of the coupled graph.

    Attributes:
        name: Its name.
        flow: What it does with channels.
        units: The units that its output has.
        sources: The operations whose channels it reads.
        carriers: Those of them that decide what is zero after it.
        bank: The bank it applies, or None.
        reads: The units that the bank reads.
        fed: Whether some of the bank's inputs always stay.
        always: Whether some of the bank's filters always stay.
    """

    name: str
    flow: Flow
    units: Bools
    sources: tuple[str, ...]
    carriers: tuple[str, ...]
    bank: int | None = None
    reads: Bools | None = None
    fed: bool = False
    always: bool = False


def steps(split: Split) -> tuple[Step, ...]:
    """The steps of a network, in order.

    A normalisation that belongs to filters is passed over: its output is the filters'. After an
    operation in place, whoever reads its operand reads its result; after one that wrote into a part
    of a tensor, whoever reads any of it reads a mixture of both.
    """
    program = split.coupled.program
    known: dict[str, Step] = {}
    filled: set[str] = set()
    latest: dict[Node, Node] = {}
    seen: set[Node] = set()
    writer = _Writer(split)
    nodes = list[Node]() if program is None else list(program.graph.nodes)
    for node in nodes:
        if node.op not in ("call_function", "output"):
            continue
        operands = [latest.get(a, a) for a in node.all_input_nodes]
        step = writer.step(node, [known[a.name] for a in operands if a.name in known], filled)
        if in_place(node):
            parts = [part for part in aliases(root(cast("Node", node.args[0]))) if part in seen]
            if step is not None and len(parts) > 1:
                step = _mixture(step, [known[p.name] for p in parts if p.name in known])
                filled.add(node.name)
            latest.update(dict.fromkeys(parts, node))
        seen.add(node)
        if step is not None:
            known[node.name] = step
    return tuple(known.values())


def _mixture(step: Step, parts: Sequence[Step]) -> Step:
    """A step after which any channel of any of these may be anything."""
    units = np.logical_or.reduce([step.units, *(part.units for part in parts)])
    names = dict.fromkeys((*step.sources, *(part.name for part in parts)))
    return replace(step, flow=Flow.MIXES, units=units, sources=tuple(names), bank=None)


class _Writer:
    def __init__(self, split: Split) -> None:
        self.graph = split.coupled
        self.none = np.zeros(self.graph.units, dtype=bool)
        self.banks = {name: n for n, bank in enumerate(split.banks) for name in bank.nodes}
        self.entries = {
            out: name
            for bank in split.banks
            for name, out in zip(bank.nodes, bank.exits, strict=True)
        }
        self.sites = {site.weight: site for site in self.graph.sites}
        self.weights = [bank.weight for bank in split.banks]

    def step(self, node: Node, sources: Sequence[Step], filled: set[str]) -> Step | None:
        """The step of an operation; None where it has nothing to do with channels."""
        names = tuple(step.name for step in sources)
        if node.name in self.banks:
            return self._bank(node, names)
        units = self._units(node, sources)
        if units is None and not names:
            return None
        labelled = {step.name for step in sources if step.units.any()}
        flow = Flow.MIXES if units is None else flow_of(node, labelled)
        entry = self.entries.get(node.name)
        carriers = names
        if entry is not None:
            flow, carriers = Flow.KEEPS, (entry,)
        elif flow is Flow.SCALES:
            # One operand that is zero is enough, so that any may be looked at alone: the first
            # that filters have left zeros in. (A gate is one half where they left none.)
            carriers = tuple(n for n in names if n not in filled)[:1] or names[:1]
        if flow in (Flow.FILLS, Flow.MIXES) or not filled.isdisjoint(carriers):
            filled.add(node.name)
        return Step(node.name, flow, self.none if units is None else units, names, carriers)

    def _bank(self, node: Node, names: tuple[str, ...]) -> Step:
        number = self.banks[node.name]
        site = self.sites[self.weights[number]]
        reads, writes = _owners(self.graph, site.reads), _owners(self.graph, site.writes)
        held = np.array([bool(axis.frozen) for axis in self.graph.axes], bool)[self.graph.axis_of]
        return Step(
            name=node.name,
            flow=Flow.FILTERS,
            units=writes,
            sources=names,
            carriers=names,
            bank=number,
            reads=reads,
            fed=not names or bool((site.reads.owner < 0).any()),
            always=bool((site.writes.owner < 0).any() or (writes & held).any()),
        )

    def _units(self, node: Node, sources: Sequence[Step]) -> Bools | None:
        """The units of an operation's output; None where it has no channels."""
        if node.name in self.graph.activations:
            dims = [dim for _, dim in self.graph.activations[node.name]]
            return np.any([_owners(self.graph, dim) for dim in dims], axis=0)
        if isinstance(node.meta.get("val"), list | tuple) and sources:
            return np.any([step.units for step in sources], axis=0)
        return None


def _owners(graph: Graph, dim: Dim) -> Bools:
    found = np.zeros(graph.units, dtype=bool)
    for owner in dim.owners:
        found[owner[owner >= 0]] = True
    return found
