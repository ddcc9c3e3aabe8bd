"""Sizes that a module of one's own remembers: ``x.split(self.width, 1)``, ``x[:, : self.width]``.

The program holds the number alone; an attribute of the module that made the operation and that has
this value, or a list of them (``x.split(self.widths, 1)``), may be where it came from. Then it is
told the new size, and the module's own code says whether that was right
(`compressor.tracing.trial`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from compressor.graph.attributes import element
from compressor.graph.program import argument, module_of, packet_of
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow

aten = torch.ops.aten


def counted(flow: Flow, node: Node, ids: Ids, pieces: list[Ids]) -> dict[str, list[Ids]]:
    """Ids that attributes of a cut's module may count; nothing if one of its numbers is in none.

    Args:
        flow: The walk.
        node: A cut across the channels.
        ids: Ids of the channels that are cut.
        pieces: The positions that every piece is made of.

    Returns:
        Ids by attribute (``"stage.0.width"``): of every part that is as long as it says.
    """
    module = module_of(node)
    held, parts = flow.program.sizes.get(module, {}), _parts(node, ids, pieces)
    found: dict[str, list[Ids]] = {}
    for names in _listed(held, [len(part) for part in parts]):
        for name, part in zip(names, parts, strict=True):
            found.setdefault(f"{module}.{name}" if module else name, []).append(part)
    if found:
        return found
    for part in parts:
        names = [name for name, size in held.items() if size == len(part)]
        if not names:
            return {}
        for name in names:
            found.setdefault(f"{module}.{name}" if module else name, []).append(part)
    return found


def _listed(held: Mapping[str, int], lengths: list[int]) -> list[list[str]]:
    """The names of the numbers in every list or tuple that says these lengths, in order."""
    found: list[list[str]] = []
    for whole in dict.fromkeys(name.partition("[")[0] for name in held if "[" in name):
        names = [element(whole, at) for at in range(len(lengths))]
        exact = [held.get(name) for name in names] == lengths
        if exact and len(names) > 1 and element(whole, len(names)) not in held:
            found.append(names)
    return found


def named_sizes(flow: Flow, node: Node, size: int) -> list[str]:
    """Attributes of the module that made an operation that hold a size, by their full names."""
    module = module_of(node)
    held = flow.program.sizes.get(module, {})
    return [f"{module}.{name}".lstrip(".") for name, number in held.items() if number == size]


def told_of(flow: Flow, made: Node, read: Node, size: int) -> list[list[str]]:
    """Attributes that may say how large a tensor is that the code makes, the likeliest first.

    Args:
        flow: The walk.
        made: The operation that makes it.
        read: The operation that reads it.
        size: Its size there.

    Returns:
        Names in full: those of the module that makes it; of the modules around the one that reads
        it (``self.cell.begin(x)``, ``x.new_zeros(b, self.cell.width)``), the nearest that has some.
    """
    own, inside = module_of(made), module_of(read)
    found = [named_sizes(flow, made, size)]
    while inside.startswith(f"{own}." if own else "") and inside not in ("", own):
        if inside not in flow.program.foreign:
            held = flow.program.sizes.get(inside, {})
            found.append([f"{inside}.{name}" for name, number in held.items() if number == size])
        inside = inside.rpartition(".")[0]
    return [names for names in found if names][:2]


def remember(flow: Flow, sizes: dict[str, list[Ids]]) -> None:
    """Note what attributes count. What one of them counts twice has to stay equally long."""
    for name, parts in sizes.items():
        first = flow.sizes.setdefault(name, parts[0])
        for part in parts:
            flow.couplings.tie(part, first)


def _parts(node: Node, ids: Ids, pieces: list[Ids]) -> list[Ids]:
    """The parts whose lengths are numbers in the code.

    They are the pieces of a split, or what a slice leaves out or takes from the beginning.
    """
    packet = packet_of(node)
    if packet in (aten.split, aten.split_with_sizes):
        lengths = {len(piece) for piece in pieces}
        uneven = len(lengths) > 1 and not isinstance(node.args[1], list | tuple)
        return [] if len(pieces) < 2 or 0 in lengths or uneven else [ids[p] for p in pieces]
    if packet is aten.slice and int(argument(node, "step", 1) or 1) == 1:
        start: Any = argument(node, "start") or 0
        end: Any = argument(node, "end")
        last = len(ids) if end is None else min(int(end), len(ids))
        if int(start) == 0 and 0 < last < len(ids):
            return [ids[:last]]
        if 0 < int(start) < last == len(ids):
            return [ids[: int(start)]]
    return []
