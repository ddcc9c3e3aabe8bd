"""The layer that makes the queries of an attention that takes its scale from their width.

Without ``scale=`` attention divides by the root of the width that it finds. With fewer places in a
head it would divide by less; queries that are smaller by the same factor make up for it
(`compressor.graph.graph.Scaled`). What may be made smaller is a weight that queries follow in
proportion, and nothing else with them: that of a linear layer or a convolution, the affine of a
normalisation, or parameters that are the queries. Between it and the attention entries move, or are
added to each other and multiplied with what does not depend on them, as rotary positions are.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fx import Node

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import argument, in_place, packet_of, shape_of
from compressor.tracing.couplings import Ids
from compressor.tracing.data import moved
from compressor.tracing.flow import Flow, Proportion

aten = torch.ops.aten

_STAYING = frozenset({Kind.COPIES, Kind.DROPOUT})
_MOVING = _STAYING | {Kind.VIEWS, Kind.MOVES, Kind.CUTS, Kind.SELECTS}

Rows = Tensor | list[Tensor]
"""Numbers of rows, entry by entry of a tensor, or of several."""


def proportional(flow: Flow, node: Node, width: Ids) -> bool:
    """Note the rows that make the queries of an attention; False where there are none such.

    Args:
        flow: The walk.
        node: The attention.
        width: Ids of the places in a head.
    """
    source, between = _source(flow, node.args[0])
    if source is None or not _unheard(between, node):
        return False
    tensors, dim = _affine(flow, source)
    owned = [(_own(flow, tensor, source), at) for tensor, at in tensors]
    size = shape_of(source)[dim]
    if not owned or any(name is None or flow.shapes[name][at] != size for name, at in owned):
        return False
    rows = _alone(source, dim, node, between)
    if rows is None:
        return False
    flow.proportions += [Proportion(str(name), at, rows, width) for name, at in owned]
    return True


def _source(flow: Flow, node: Any) -> tuple[Node | None, dict[Node, bool]]:
    """The operation, or the parameter, to whose entries those of a tensor are in proportion.

    Then the operations between, in order, each with True where its entries are no longer those of
    the source alone, but sums and multiples of them. None where there are several.
    """
    waiting: list[Any] = [node]
    between, sources = dict[Node, bool](), set[Node]()
    while waiting:
        at = waiting.pop()
        if not isinstance(at, Node) or not (shape_of(at) or _moves(at)):
            return None, {}
        if at in between or at in sources:
            continue
        parts = [at.args[0]] if _moves(at) else _proportional_to(flow, at)
        if parts:
            between[at] = not _moves(at)
            waiting += parts
        else:
            sources.add(at)
    order = {other: number for number, other in enumerate(flow.program.graph.nodes)}
    for at in sorted(between, key=order.__getitem__):
        mixed = between.pop(at) or any(between.get(x, False) for x in at.all_input_nodes)
        between[at] = mixed
    return (sources.pop() if len(sources) == 1 else None), between


def _proportional_to(flow: Flow, node: Node) -> list[Any]:
    """The operands that a sum, or a multiple of one, is in proportion to; none for others."""
    packet, tensors = packet_of(node), node.all_input_nodes
    if in_place(node):
        return []
    if packet in (aten.cat, aten.stack):
        return list(argument(node, "tensors"))
    if operation_of(node.target).kind is Kind.PAIRS or packet is aten.type_as:
        return [node.args[0]]
    if packet is aten.neg or (packet in (aten.add, aten.sub) and len(tensors) == 2):
        return list(tensors)
    if packet not in (aten.mul, aten.div):
        return []
    heard = [x for x in tensors if flow.hears(x)]
    alone = len(heard) == 1 and (packet is aten.mul or heard[0] is node.args[0])
    return list(heard) if alone else []


def _unheard(between: dict[Node, bool], node: Node) -> bool:
    """True if what is no longer entries of the source makes queries and nothing else."""
    last = [at for at, mixed in between.items() if mixed and node in at.users]
    inside = {*between, node}
    heard = (set(_listeners(at)) <= inside for at, mixed in between.items() if mixed)
    return all(heard) and all(_asks(node, at) for at in last)


def _moves(node: Node) -> bool:
    """True if an operation does nothing but move entries of a single tensor."""
    if node.target is operator.getitem:
        return True
    if node.op != "call_function" or len(node.all_input_nodes) != 1 or in_place(node):
        return False
    return operation_of(node.target).kind in _MOVING or packet_of(node) is aten.unbind


def _affine(flow: Flow, source: Node) -> tuple[list[tuple[Any, int]], int]:
    """The tensors that a result is proportional to, each with its dimension of rows.

    Then the dimension of the result that has an entry for each row. No tensors where it is
    proportional to none.
    """
    kind, last = operation_of(source.target).kind, len(shape_of(source)) - 1
    if flow.weight(source) is not None:
        return [(source, 0)], 0
    if packet_of(source) is aten.addmm:
        return [(source.args[2], 1), (source.args[0], 0)], last
    if kind is Kind.PRODUCT:
        return [(source.args[1], 1)] if len(shape_of(source.args[1])) == 2 else [], last
    weight = argument(source, "weight") if kind in _RANKS else None
    rank = len(shape_of(weight))
    if weight is None or _RANKS[kind] not in (None, rank):
        return [], 0
    bias = argument(source, "bias")
    dim = {Kind.CONVOLUTION: last - rank + 2, Kind.BATCH_NORM: 1}.get(kind, last)
    return [(weight, 0), *([(bias, 0)] if bias is not None else [])], dim


_RANKS = {Kind.LINEAR: 2, Kind.LAYER_NORM: 1, Kind.BATCH_NORM: 1, Kind.CONVOLUTION: None}
"""Kinds with a weight that has a row for each of their channels, and its rank if that is one."""


def _own(flow: Flow, tensor: Any, source: Node) -> str | None:
    """Name of a weight that one operation alone uses, and once; None for any other tensor."""
    name = flow.weight(tensor)
    if list(flow.program.weights.values()).count(str(name)) != 1:
        return None
    given = [*source.args, *source.kwargs.values()]
    once = given.count(tensor) == 1 and set(tensor.users) == {source}
    return name if tensor is source or once else None


def _alone(
    source: Node, dim: int, node: Node, between: dict[Node, bool]
) -> NDArray[np.bool_] | None:
    """Booleans of the rows that make the queries; None where they make something else as well."""
    shape = shape_of(source)
    view = [1] * len(shape)
    view[dim] = shape[dim]
    numbers = torch.arange(shape[dim]).reshape(view).expand(shape)
    mine, others = (torch.zeros(shape[dim], dtype=torch.bool) for _ in range(2))
    for user, tensor, rows in _ends(source, numbers):
        asked = between.get(user, False) or (user is node and _asks(node, tensor))
        (mine if asked else others)[_flat(rows)] = True
    return None if bool((mine & others).any()) or not bool(mine.any()) else mine.numpy()


def _listeners(tensor: Node) -> list[Node]:
    """The operations that look at a tensor's values, and not at its type alone."""
    users = list(tensor.users)
    return [x for x in users if packet_of(x) is not aten.type_as or x.args[0] is tensor]


def _asks(node: Node, tensor: Node) -> bool:
    """True if a tensor is the queries of an attention and nothing else there."""
    given = [x is tensor for x in (*node.args, *node.kwargs.values())]
    return given[0] and sum(given) == 1


def _ends(source: Node, numbers: Rows) -> Iterator[tuple[Node, Node, Rows]]:
    """The operations that do more than move entries of a tensor, what they take, and its rows."""
    waiting: list[tuple[Node, Rows]] = [(source, numbers)]
    while waiting:
        tensor, rows = waiting.pop()
        for user in _listeners(tensor):
            if _moves(user):
                waiting.append((user, _after(user, rows)))
            else:
                yield user, tensor, rows


def _after(node: Node, rows: Any) -> Rows:
    """Numbers of rows behind an operation that moves entries."""
    if node.target is operator.getitem:
        return rows[node.args[1]]
    return rows if operation_of(node.target).kind in _STAYING else moved(node, rows)


def _flat(rows: Rows) -> Tensor:
    return rows.flatten() if isinstance(rows, Tensor) else torch.cat([x.flatten() for x in rows])
