"""Heads of attention: channels split into heads and places in a head, and put together again.

A view of (batch, time, heads x width) as (batch, time, heads, width) shrinks in both: whole heads
go, and of those that stay the same places. So do the products of attention behind it. In the
program the sizes are numbers. Where the module that made the view has an attribute of that value,
it is told the new one (`compressor.tracing.remembered`); where heads are put together in the size
of the channels that came in (``x.reshape(b, n, c)``), these may have to be as many. The module's
own code says which is right (`compressor.tracing.trial`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import argument, module_of, packet_of, shape_of
from compressor.tracing.couplings import Ids
from compressor.tracing.flow import Flow
from compressor.tracing.labels import Grid, Label, Labelled, along, spread, varying
from compressor.tracing.remembered import named_sizes, remember

FREE, ALIKE, COUNTED, SHARE = range(4)
"""As many channels as there are, as others, as an attribute says, or a share of others."""

ALSO = " also"
"""Ends the name of a second choice at one operation."""

PRODUCTS = frozenset({Kind.PRODUCT, Kind.BATCHED, Kind.EINSUM, Kind.ATTENTION})
_MOVING = frozenset({Kind.VIEWS, Kind.MOVES, Kind.COPIES, Kind.SHAPED})
_PASSING = _MOVING | {
    Kind.POINTWISE,
    Kind.SELECTS,
    Kind.PICKS,
    Kind.CUTS,
    Kind.DROPOUT,
    Kind.SCANS,
    Kind.LAYER_NORM,
    Kind.JOINS,
    Kind.STACKS,
    Kind.PADS,
    Kind.PAIRS,
}
MOST = 200
"""Operations that are looked at behind a view."""


def split(flow: Flow, node: Node, ids: Tensor, dims: list[int]) -> Labelled:
    """Labels for heads and for places in a head, where a view makes these two of channels.

    Args:
        flow: The walk.
        node: The view.
        ids: The id of every entry of its output.
        dims: The dimensions along which they vary.

    Returns:
        None where it does not lead to a product of two activations, or has more dimensions.
    """
    kernel = applied(node)
    if not kernel and not attended(flow, node):
        return None
    picked = [dim for dim in dims if (dim > 1 if kernel else _picked(node, dim))]
    left = [dim for dim in dims if dim not in picked]
    if len(left) not in (1, 2):
        return None
    for dim in picked:  # queries, keys and values in one tensor are cut alike
        rows = ids.movedim(dim, 0)
        flow.couplings.tie(_box(rows, dims, dim), _box(rows[:1], dims, dim))
        ids = rows[:1].expand(rows.shape).movedim(0, dim)
    picks = tuple(slice(None) if dim in left else 0 for dim in range(ids.ndim))
    first = ids[picks].contiguous().numpy()
    if len(left) == 1:
        return Label(left[0], first)
    labels = [Label(dim, flow.couplings.fresh(ids.shape[dim])) for dim in left]
    rows, columns = (label.ids for label in labels)
    flow.couplings.cross(first, rows[:, None], columns[None, :])
    _tell(flow, node, labels, first.ravel())
    return Grid(tuple(labels))


def _box(rows: Tensor, dims: Iterable[int], dim: int) -> Ids:
    """Ids that may differ, the dimension `dim` first."""
    others = [other + 1 if other < dim else other for other in dims if other != dim]
    where = tuple(slice(None) if n in (0, *others) else slice(0, 1) for n in range(rows.ndim))
    return rows[where].contiguous().numpy()


def _tell(flow: Flow, node: Node, labels: list[Label], channels: Ids) -> None:
    """Read where the number of heads, or of places in a head, comes from.

    Attributes may hold them, or their product (``self.width // self.heads``). Where none is left
    open, their product may be the width of what came in (``c // self.heads``): then there are as
    many channels as there. With the last reading the code counts by itself.
    """
    written, module = _written(node), module_of(node)
    told = [one.ids for one in labels if written is None or written[one.dim] != -1]
    readings = _readings(flow, module, told)
    source = None
    if len(told) == 2:
        readings = _with_products(flow, node, told, channels, readings)
        source = _read_before(flow, module, len(channels))
    ways = len(readings) + (source is not None)
    if not ways:
        return
    option = flow.choices.take(node.name, range(ways + 1), channels, doubt=1)
    if source is not None and option == len(readings):
        flow.couplings.tie(channels, source)
        option = 0
    if option < len(readings):
        remember(flow, readings[option])


def _with_products(
    flow: Flow, node: Node, told: list[Ids], channels: Ids, readings: list[dict[str, list[Ids]]]
) -> list[dict[str, list[Ids]]]:
    """The same, and those in which attributes count heads times places.

    Where no attribute holds one of these, they are the only ones.
    """
    more = {name: [channels] for name in named_sizes(flow, node, len(channels))}
    if not more:
        return readings
    computed = [{**reading, **more} for reading in readings[:1] or [{}]]
    both = all(named_sizes(flow, node, len(ids)) for ids in told)
    return [*readings, *computed] if both else computed


def _readings(flow: Flow, module: str, counted: list[Ids]) -> list[dict[str, list[Ids]]]:
    """Ids by the attributes of a module that may count them.

    Of equally many heads and places either attribute may hold either number, and one may hold both.
    """
    held = flow.program.sizes.get(module, {})
    prefix = f"{module}." if module else ""
    alike = len(counted) == 2 and len(counted[0]) == len(counted[1])
    if not alike:
        pairs = [(name, ids) for ids in counted for name, n in held.items() if n == len(ids)]
        return [{prefix + name: [ids] for name, ids in pairs}] if pairs else []
    names = [prefix + name for name, size in held.items() if size == len(counted[0])]
    if not names:
        return []
    turns = (counted, counted[::-1])
    apart = [
        {names[0]: [first], **{name: [second] for name in names[1:]}} for first, second in turns
    ]
    return [*apart, dict.fromkeys(names, counted)]


def _written(node: Node) -> list[Any] | None:
    """The sizes that a view was asked for, -1 among them; None where it gives others."""
    sizes: Any = node.args[1] if len(node.args) > 1 else None
    rank = len(shape_of(node))
    if packet_of(node) is torch.ops.aten.unflatten:
        inner: Any = argument(node, "sizes")
        before = shape_of(argument(node, "self"))
        at = int(argument(node, "dim")) % len(before)
        sizes = [*before[:at], *inner, *before[at + 1 :]]
    return list(sizes) if isinstance(sizes, list | tuple) and len(sizes) == rank else None  # pyright: ignore[reportUnknownArgumentType]


def merged(flow: Flow, node: Node, label: Label) -> None:
    """Read what the number of channels goes with, where heads are put together."""
    written, size = _written(node), len(label.ids)
    if written is None or written[label.dim] == -1:
        return
    source = _read_before(flow, module_of(node), size)
    _goes_with(flow, node, node.name, label, source, doubt=2)


def numbered(flow: Flow, node: Node, label: Label) -> None:
    """Read what the number of channels goes with, where a view has it written down.

    ``b, c, h, w = x.shape`` may have been that of another tensor with as many channels then, or
    with a multiple of them (``y.view(b, c // 2, -1)``).
    """
    written = _written(node) if operation_of(node.target).kind is Kind.VIEWS else None
    if written is None or written[label.dim] == -1:
        return
    source, more = _before(flow, label, [1]), _before(flow, label, SHARES)
    _goes_with(flow, node, node.name + ALSO, label, source, more, doubt=3)


def _goes_with(
    flow: Flow,
    node: Node,
    choice: str,
    label: Label,
    source: Ids | None,
    more: Ids | None = None,
    *,
    doubt: int,
) -> None:
    """Leave a number of channels free, tell it to attributes, or tie it to other channels.

    Those are as many (`source`), or a multiple of them, of which all parts are tied (`more`).
    """
    names = named_sizes(flow, node, len(label.ids))
    order = [FREE, *([COUNTED] if names else []), *([ALIKE] if source is not None else [])]
    order += [SHARE] if more is not None else []
    if len(order) == 1:
        return
    refused = flow.choices.refused.get(choice, frozenset())
    if order[-1] == SHARE and len(order) > 2 and refused.issuperset(order[:-2]):
        doubt = 0  # a share of others is the least likely: all else is given up first
    option = flow.choices.take(choice, order, label.ids, doubt=doubt)
    if option == COUNTED:
        remember(flow, {name: [label.ids] for name in names})
    elif option == ALIKE and source is not None:
        flow.couplings.tie(label.ids, source)
    elif option == SHARE and more is not None:
        flow.couplings.tie(more.reshape(-1, len(label.ids)), label.ids)


SHARES = range(2, 17)
"""Multiples of a number of channels that other channels may be."""


def _before(flow: Flow, label: Label, multiples: Sequence[int]) -> Ids | None:
    """The latest channels that a layer read or wrote, if they are a multiple of these."""
    sizes = {len(label.ids) * multiple for multiple in multiples}
    for use in reversed(flow.uses):
        for ids in (use.reads, use.writes):
            if len(ids) in sizes and not np.isin(ids, label.ids).any() and ids.any():
                return ids
    return None


def _read_before(flow: Flow, module: str, size: int) -> Ids | None:
    """The channels that the last layer of a module read, if there are so many."""
    inside = [use for use in flow.uses if use.module.startswith(module)]
    return next((use.reads for use in reversed(inside) if len(use.reads) == size), None)


def attended(flow: Flow, node: Node) -> bool:
    """True if what a view makes goes into a product of two activations."""
    for user, source in _behind(node):
        if operation_of(user.target).kind in PRODUCTS:
            others = [x for x in user.all_input_nodes if x is not source]
            if any(flow.weight(x) is None for x in others):
                return True
    return False


def parted(flow: Flow, node: Node) -> bool:
    """True if a view that splits channels may shrink in two dimensions."""
    return applied(node) or attended(flow, node)


def applied(node: Node) -> bool:
    """True if what a view makes is the weight of a layer: (out, in, ...)."""
    return any(
        operation_of(user.target).kind in (Kind.CONVOLUTION, Kind.TRANSPOSED, Kind.LINEAR)
        and user.args[1] is source
        and len(shape_of(source)) == len(shape_of(node))
        for user, source in _behind(node)
    )


def _behind(node: Node) -> Iterator[tuple[Node, Node]]:
    """The operations behind a node, as far as they let channels pass, with what they take of it."""
    waiting, seen = [node], {node}
    while waiting and len(seen) < MOST:
        source = waiting.pop(0)
        for user in source.users:
            yield user, source
            kind = operation_of(user.target).kind
            through = kind in _PASSING or not isinstance(user.target, torch._ops.OpOverload)  # noqa: SLF001
            if user not in seen and user.op == "call_function" and through:
                seen.add(user)
                waiting.append(user)


def _picked(node: Node, dim: int) -> bool:
    """True if one entry of a dimension is taken at a time: queries, keys and values.

    Or two of them together, as the parts of a complex number.
    """
    for user in node.users:
        kind = operation_of(user.target).kind
        rank = len(shape_of(node))
        if kind is Kind.SELECTS or user.target is torch.ops.aten.unbind.int:
            if int(argument(user, "dim", 0)) % rank == dim:
                return True
        elif packet_of(user) is torch.ops.aten.view_as_complex:
            if dim == rank - 1:
                return True
        elif kind in _MOVING and user.args[0] is node:
            after = _followed(user, dim, shape_of(node))
            if after is not None and _picked(user, after):
                return True
    return False


def _followed(node: Node, dim: int, shape: tuple[int, ...]) -> int | None:
    """The dimension that one of the source's becomes; None where it does not stay one."""
    numbers = spread(Label(dim, np.arange(shape[dim])), shape)
    if operation_of(node.target).kind in (Kind.VIEWS, Kind.SHAPED):
        moved: Tensor = numbers.reshape(shape_of(node))
    else:
        moved = node.target(numbers, *node.args[1:], **node.kwargs)  # type: ignore[operator]
    varies = varying(moved)
    whole = len(varies) == 1 and np.array_equal(along(moved, varies[0]), np.arange(shape[dim]))
    return varies[0] if whole else None
