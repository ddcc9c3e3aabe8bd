"""Boundaries of calls of modules in a program, and the operations that lie between them.

A module's input and its result are tensors that both the program and the running module have, so
that they can be compared there, one part of the network at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch.fx import Node

from compressor.graph.graph import Graph
from compressor.graph.program import Program

Key = str
"""Names one call of a module: its path, with a number from the second call on."""


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        nodes: Its operations, those of modules inside included, in order.
        own: Those of its own code.
        entry: The only tensor that goes in, None where there are several.
        result: The only tensor that comes out, likewise.
    """

    nodes: tuple[Node, ...]
    own: tuple[Node, ...]
    entry: Node | None
    result: Node | None


@dataclass(frozen=True)
class Boundaries:
    """The calls of a graph's program."""

    graph: Graph
    program: Program

    @cached_property
    def calls(self) -> Mapping[str, tuple[Call, ...]]:
        """The calls of every module by its path, in order."""
        inside: dict[Key, list[Node]] = {}
        paths: dict[Key, str] = {}
        for node in self.program.graph.nodes:
            for key, path in _stack(node):
                inside.setdefault(key, []).append(node)
                paths[key] = path
        found: dict[str, list[Call]] = {}
        for key, nodes in inside.items():
            found.setdefault(paths[key], []).append(self._call(key, nodes))
        return {path: tuple(calls) for path, calls in found.items()}

    @cached_property
    def place(self) -> Mapping[Node, int]:
        """The number of every operation."""
        return {node: number for number, node in enumerate(self.program.graph.nodes)}

    @cached_property
    def borders(self) -> frozenset[Node]:
        """All tensors that are compared."""
        calls = (call for calls in self.calls.values() for call in calls)
        return frozenset(n for call in calls for n in (call.entry, call.result) if n is not None)

    def axes(self, nodes: Iterable[Node]) -> list[int]:
        """Axes of what these operations and those before them, up to the next border, work on.

        The nearest first.
        """
        found: dict[int, None] = {}
        waiting = list(nodes)
        first, seen = set(waiting), set[Node]()
        while waiting:
            node = waiting.pop(0)
            if node in seen:
                continue
            seen.add(node)
            dims = (dim for _, dim in self.graph.activations.get(node.name, ()))
            for owner in (owner for dim in dims for owner in dim.owners):
                for axis in np.unique(self.graph.axis_of[owner[owner >= 0]]).tolist():
                    found.setdefault(int(axis))
            if node in first or node not in self.borders:
                waiting += [x for x in node.all_input_nodes if not self._constant(x)]
        return list(found)

    def _call(self, key: Key, nodes: list[Node]) -> Call:
        mine = set(nodes)
        out = [n for n in nodes if any(user not in mine for user in n.users)]
        read = {x for n in nodes for x in n.all_input_nodes} - mine
        into = [x for x in read if not self._constant(x)]
        own = tuple(n for n in nodes if _stack(n)[-1][0] == key)
        entry, result = (ends[0] if len(ends) == 1 else None for ends in (into, out))
        return Call(tuple(nodes), own, entry, result)

    def _constant(self, node: Node) -> bool:
        return node.name in self.program.weights or node.name in self.program.constants


def _stack(node: Node) -> list[tuple[Key, str]]:
    stack = node.meta.get("nn_module_stack") or {}
    return [(str(key), str(path)) for key, (path, _) in stack.items()]
