"""Slices, chunks, splits and picks across the channels: shares of them, or positions among them.

``x.chunk(2)`` and ``x[:, : c // 2]`` take a share, and a smaller tensor is cut alike when every
part loses the same offsets. ``x[:, :8]`` counts positions: what is counted has to stay. ``cat([a,
b]).split([a.shape[1], b.shape[1]])`` cuts where two layers meet and ties nothing.
``x.split(self.width, 1)`` goes by a size that the module remembers
(`compressor.tracing.remembered`). In the program all are numbers; see `compressor.tracing.choices`.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from compressor.graph.program import argument, packet_of, shape_of
from compressor.tracing.couplings import Ids
from compressor.tracing.data import movement, on_channels
from compressor.tracing.flow import Flow, Labels, place
from compressor.tracing.labels import Label, Labelled
from compressor.tracing.remembered import counted, remember

aten = torch.ops.aten
SHARES, LAYERS, POSITIONS, REMEMBERED = range(4)
"""How a cut can be read."""

_BY_NUMBER = (aten.chunk, aten.split, aten.tensor_split)


@on_channels
def cutting(flow: Flow, node: Node, label: Label) -> Labels:
    """A cut; across the channels one of three readings, of which the code survives one."""
    rank, size = len(shape_of(node.args[0])), len(label.ids)
    dim = int(argument(node, "dim", 0)) % rank
    if dim != label.dim:
        return movement(flow, node)
    pieces = _pieces(node, torch.arange(size), dim, rank)
    if len(pieces) != 1 or len(pieces[0]) < size:
        _read(flow, node, label.ids, pieces)
    labels: list[Labelled] = [Label(dim, label.ids[piece]) for piece in pieces]
    return labels if isinstance(node.meta.get("val"), list | tuple) else labels[0]


def _read(flow: Flow, node: Node, ids: Ids, pieces: list[Ids]) -> None:
    shares, surplus = _shares(node, ids, pieces)
    order = [SHARES] if shares is not None else []
    if _between_layers(flow, ids, pieces):
        equal = len({len(piece) for piece in pieces}) == 1 and shares is not None
        order.insert(1 if equal else 0, LAYERS)
    if flow.weighs(node.args[0]):  # what is cut of a weight is as many rows as a layer has
        order.insert(0, LAYERS)
    sizes = counted(flow, node, ids, pieces)
    order += [REMEMBERED] if sizes else []
    # A size that an attribute has may be no share, on which readings of views behind it hang.
    first = SHARES not in flow.choices.refused.get(node.name, ())
    doubt = 2 if sizes and first else 0
    option = flow.choices.take(node.name, [*order, POSITIONS], ids, doubt)
    if option == SHARES and shares is not None:
        flow.couplings.tie(shares, shares[0])
        flow.couplings.freeze(surplus, f"{place(node)} cuts it into unequal parts")
    elif option == REMEMBERED:
        remember(flow, sizes)
    elif option == POSITIONS:
        why = f"{place(node)} counts channels by their position"
        flow.couplings.freeze(_counted(node, ids), why)


def _pieces(node: Node, start: Tensor, dim: int, rank: int) -> list[Ids]:
    """The positions that every piece is made of."""
    view = [1] * rank
    view[dim] = len(start)
    cut: Any = node.target(start.view(view), *node.args[1:], **node.kwargs)  # type: ignore[operator]
    parts: list[Tensor] = list(cut) if isinstance(cut, list | tuple) else [cut]
    return [part.flatten().numpy() for part in parts]


def _shares(node: Node, ids: Ids, pieces: list[Ids]) -> tuple[Ids | None, Ids]:
    """Rows of ids to tie so that shares stay shares, and ids that then have to stay.

    Parts of equal length lose the same offsets, and so do parts of 1/4 and 3/4, cut into quarters.
    Where a chunk is shorter than the others, what the others have more stays: parts of 11, 11 and
    10 channels become k + 1, k + 1 and k, as ``chunk`` would have it. Every second channel stays
    every second one when pairs go.
    """
    none, size = ids[:0], len(ids)
    if any(len(piece) == 0 for piece in pieces):
        return None, none
    step = int(argument(node, "step", 1) or 1) if packet_of(node) is aten.slice else 1
    if step > 1:
        every = size % step == 0 and len(pieces[0]) * step == size
        return (ids.reshape(-1, step).T, none) if every else (None, none)
    lengths = [len(piece) for piece in pieces]
    by_number = packet_of(node) in _BY_NUMBER and not isinstance(node.args[1], list | tuple)
    if by_number and len(set(lengths)) > 1:
        least = min(lengths)
        rows = np.stack([ids[piece[:least]] for piece in pieces])
        surplus = np.concatenate([ids[piece[least:]] for piece in pieces])
        return (rows, surplus) if least > 1 else (None, none)
    ends = [int(end) for piece in pieces for end in (piece[0], piece[-1] + 1)]
    length = gcd(size, *ends)
    fair = (1 if by_number else 2) <= length < size
    return (ids.reshape(-1, length), none) if fair else (None, none)


def _between_layers(flow: Flow, ids: Ids, pieces: list[Ids]) -> bool:
    """True if every cut falls where the channels of one layer end and those of another begin."""
    ends = {int(end) for piece in pieces if len(piece) for end in (piece[0], piece[-1] + 1)}
    inner = np.array(sorted(ends - {0, len(ids)}), np.int64)
    whole = all(len(p) and p[-1] - p[0] == len(p) - 1 for p in pieces)
    if not whole or not len(inner):
        return False
    layer = np.zeros(flow.couplings.count, np.int64)
    for number, own in enumerate(flow.owners.values()):
        layer[own] = number + 1
    return bool((layer[ids[inner - 1]] != layer[ids[inner]]).all())


def _counted(node: Node, ids: Ids) -> Ids:
    """The ids that have to stay so that a position means the same as before."""
    size, packet = len(ids), packet_of(node)
    if packet is aten.slice and int(argument(node, "step", 1) or 1) == 1:
        ends = [int(argument(node, name) or 0) for name in ("start", "end")]
        if argument(node, "end") is None:
            ends.pop()
        front = max((end for end in ends if 0 <= end < size), default=0)
        back = max((-end for end in ends if end < 0), default=0)
    elif packet is aten.narrow and int(argument(node, "start")) >= 0:
        front, back = int(argument(node, "start")) + int(argument(node, "length")), 0
    elif packet is aten.tensor_split and isinstance(node.args[1], list | tuple):
        cuts = [int(str(cut)) for cut in node.args[1]]
        front, back = (max(cuts, default=0), 0) if min(cuts, default=0) >= 0 else (size, 0)
    elif packet is aten.select:
        index = int(argument(node, "index"))
        front, back = (index + 1, 0) if index >= 0 else (0, -index)
    elif packet is aten.split and isinstance(node.args[1], int):
        # All parts but the last are as long as the number says; that has to be there.
        front, back = (size - 1) // node.args[1] * node.args[1] + 1, 0
    else:
        front, back = size, 0
    front = min(front, size)
    return np.concatenate([ids[:front], ids[max(front, size - back) :]])


@on_channels
def selecting(flow: Flow, node: Node, label: Label) -> Labels:
    """One entry of a dimension; across the channels those that are counted have to stay."""
    if int(argument(node, "dim")) % len(shape_of(node.args[0])) != label.dim:
        return movement(flow, node)
    return flow.couplings.freeze(
        _counted(node, label.ids), f"{place(node)} picks channels by their position"
    )
