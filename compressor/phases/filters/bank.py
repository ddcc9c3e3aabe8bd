"""The filter banks of a network: which convolution or linear layer, and what belongs to it.

A **bank** is one weight with all places where it is applied. Its **filters** are its output
channels. With a filter go its bias and, where a normalisation alone reads the layer, its entries of
that: exact zeros stay behind and no constant. Any other normalisation belongs to the trunk and
stays with the coupled unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import nn
from torch.fx import Node
from torch.nn.modules.conv import _ConvNd

from compressor.graph.graph import Graph, Site, Weight
from compressor.graph.kinds import Kind, Zeros
from compressor.graph.operations import operation_of
from compressor.graph.program import Program, in_place, module_of, shape_of

_MOVED = (Kind.BATCH_NORM, Kind.VIEWS, Kind.MOVES, Kind.COPIES)


def _per_channel(node: Node) -> bool:
    """True if a normalisation that belongs to filters may run this: a channel stays by itself."""
    row = operation_of(node.target)
    numbers = [a for a in node.args[:2] if not isinstance(a, Node)]
    summed = row.zeros is Zeros.SUM and not any(numbers)
    apart = summed or row.zeros is Zeros.PRODUCT or row.kind in _MOVED
    return apart and not in_place(node)


@dataclass(frozen=True)
class Bank:
    """One weight of a convolution or linear layer, and what lives and dies with its filters.

    Attributes:
        weight: Its name.
        modules: The layers that apply it (several where they are tied).
        nodes: Names of the operations that apply it, in order.
        exits: For each of them the operation whose output is the filters' (that of the
            normalisation, where one belongs to them).
        norms: The normalisation modules that belong to it.
        vectors: Names of its bias and of the parameters and buffers of these normalisations.
        dense: False where a filter reads its own channel alone, as in a depthwise convolution.
    """

    weight: str
    modules: tuple[str, ...]
    nodes: tuple[str, ...]
    exits: tuple[str, ...]
    norms: tuple[str, ...]
    vectors: tuple[str, ...]
    dense: bool

    @property
    def name(self) -> str:
        """Its first layer."""
        return self.modules[0]


def banks(model: nn.Module, graph: Graph) -> tuple[Bank, ...]:
    """Every bank whose filters can be taken one by one, in the order of their first use.

    A weight that is used by anything but the layers that hold it is left out: its channels are
    those of the trunk.

    Args:
        model: The model that `graph` was traced from.
        graph: Its graph, with its program.

    Raises:
        ValueError: If the graph is one of a model that lost channels since it was traced.
    """
    if graph.program is None:
        raise ValueError(
            "single filters are found in the exported operations, which this graph has lost with "
            "its first removal: trace the smaller model anew"
        )
    reader = _Reader(model, graph.program)
    uses: dict[str, list[Site]] = {}
    for site in graph.sites:
        uses.setdefault(site.weight, []).append(site)
    found = (reader.bank(graph.weights[name], sites) for name, sites in uses.items())
    order = {node.name: place for place, node in enumerate(graph.program.graph.nodes)}
    return tuple(sorted((b for b in found if b is not None), key=lambda b: order[b.nodes[0]]))


class _Reader:
    """Looks up who uses what in a program."""

    def __init__(self, model: nn.Module, program: Program) -> None:
        self.model, self.program = model, program
        self.users: dict[str, set[Node]] = {}
        self.inside: dict[str, list[Node]] = {}
        for node in program.graph.nodes:
            name = program.weights.get(node.name)
            if name is not None:
                self.users.setdefault(name, set()).update(node.users)
            elif node.op == "call_function":
                self.inside.setdefault(module_of(node), []).append(node)
        self.order = {node: place for place, node in enumerate(program.graph.nodes)}

    def bank(self, weight: Weight, sites: list[Site]) -> Bank | None:
        """The bank of a weight, or None where it is more than a layer's."""
        modules = self._holders(weight)
        nodes = sorted(self.users.get(weight.name, ()), key=self.order.__getitem__)
        biases = {name for node in nodes for name in self._weights(node)} - {weight.name}
        if modules is None or len(nodes) != len(sites) or weight.out_dim is None:
            return None
        dims = [*weight.dims, *(end for site in sites for end in (site.reads, site.writes))]
        if any(dim.also is not None for dim in dims) or any(site.dims for site in sites):
            return None  # heads go whole
        if any(module_of(node) not in modules or not node.users for node in nodes):
            return None
        if any(not self.users[name] <= set(nodes) for name in biases):
            return None
        norms, exits, vectors = self._norms(nodes) or ((), tuple(nodes), frozenset[str]())
        return Bank(
            weight=weight.name,
            modules=modules,
            nodes=tuple(node.name for node in nodes),
            exits=tuple(node.name for node in exits),
            norms=norms,
            vectors=tuple(sorted(biases | vectors)),
            dense=sites[0].dense,
        )

    def _holders(self, weight: Weight) -> tuple[str, ...] | None:
        """The layers that hold a tensor as their `weight`, if nothing else does."""
        parts = [name.rpartition(".") for name in (weight.name, *weight.aliases)]
        owners = [self.model.get_submodule(owner) for owner, _, _ in parts]
        plain = all(isinstance(o, (_ConvNd, nn.Linear)) and not _slim(o) for o in owners)
        if not plain or any(leaf != "weight" for _, _, leaf in parts):
            return None
        return tuple(owner for owner, _, _ in parts)

    def _weights(self, node: Node) -> Iterator[str]:
        """Names of the parameters and buffers that an operation reads."""
        for operand in node.all_input_nodes:
            if operand.name in self.program.weights:
                yield self.program.weights[operand.name]

    def _norms(
        self, nodes: Iterable[Node]
    ) -> tuple[tuple[str, ...], tuple[Node, ...], frozenset[str]] | None:
        """The normalisations that follow all uses, their exits and what they hold; None: none."""
        regions = [self._region(node) for node in nodes]
        known = [region for region in regions if region is not None]
        if len(known) < len(regions):
            return None
        inside = {node for region in known for node in region.nodes}
        modules = tuple(dict.fromkeys(region.module for region in known))
        vectors = frozenset(name for node in inside for name in self._weights(node))
        everything = {node for module in modules for node in self._below(module)}
        alone = all(self.users[name] <= inside for name in vectors)
        if not everything <= inside or not alone:
            return None
        return modules, tuple(region.exit for region in known), vectors

    def _below(self, module: str) -> Iterator[Node]:
        """All operations that a module or one inside it runs."""
        for name, nodes in self.inside.items():
            if _within(name, module):
                yield from nodes

    def _region(self, node: Node) -> _Region | None:
        """The normalisation that alone reads an operation's output."""
        readers = sorted(node.users, key=self.order.__getitem__)
        module = module_of(readers[0]) if len(readers) == 1 else ""
        if not module or _within(module_of(node), module):
            return None
        region, exits, waiting = {node}, list[Node](), readers
        while waiting:
            reader = waiting.pop(0)
            outside = [a for a in reader.all_input_nodes if a not in region]
            if not _per_channel(reader) or not all(map(self._vector, outside)):
                return None
            region.update((reader, *self._above(outside)))
            inner = {user for user in reader.users if _within(module_of(user), module)}
            waiting = sorted(inner.union(waiting), key=self.order.__getitem__)
            if len(inner) < len(reader.users):
                exits.append(reader)
        region.remove(node)
        kinds = {operation_of(inner.target).kind for inner in region}
        slim = _slim(self.model.get_submodule(module))
        if len(exits) != 1 or Kind.BATCH_NORM not in kinds or slim:
            return None
        return _Region(module, frozenset(region), exits[0])

    def _above(self, nodes: Iterable[Node]) -> Iterator[Node]:
        """The operations that move the dimensions of parameters."""
        for node in nodes:
            if node.op == "call_function":
                yield node
                yield from self._above(node.all_input_nodes)

    def _vector(self, node: Node) -> bool:
        """True if a node stands for a parameter, or for one with its dimensions moved."""
        if node.name in self.program.weights:
            return True
        below = node.all_input_nodes
        return bool(below) and shape_of(node) != () and all(map(self._vector, below))


@dataclass(frozen=True)
class _Region:
    """The operations of one call of a normalisation."""

    module: str
    nodes: frozenset[Node]
    exit: Node


def _slim(module: nn.Module) -> bool:
    """True if a layer lost single filters before (see `compressor.phases.filters.slimming`)."""
    return hasattr(module, "gathered") and hasattr(module, "spread")


def _within(module: str, outer: str) -> bool:
    return module == outer or module.startswith(f"{outer}.")
