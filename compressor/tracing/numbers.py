"""Numbers in the code that are the size of what was summed over: ``x.sum(1) / x.shape[1]``.

A scaled weight is divided by the number of its inputs, a norm by the root of the number of
channels. In the program that is a number. Where it is the size, or a root or an inverse of it, of
what the tensor beside it was reduced over, it may be meant to follow: then the masked original has
the number of the kept entries in its place, and the model's own code says which is right
(`compressor.tracing.trial`).
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isclose, isfinite, prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import dims_of, packet_of, shape_of
from compressor.tracing.einsums import lettered
from compressor.tracing.flow import Flow, Sized
from compressor.tracing.labels import Label

AS_IT_IS, FOLLOWS = range(2)
"""A number stays what it is, or follows the kept entries."""

PRODUCTS = frozenset({Kind.PRODUCT, Kind.BATCHED})
"""Products that sum over the last dimension of what they take first."""

POWERS, FOURTH = (1.0, -1.0, 0.5, -0.5), (0.25, -0.25)
_OF_ONE = frozenset({Kind.POINTWISE, Kind.COPIES})
FAR = 12
"""Operations that are looked back over."""


def sized(flow: Flow, node: Node) -> None:
    """Note a number that follows the size of what its operand was reduced over."""
    numbers = [(at, _number(flow, x)) for at, x in enumerate(node.args)]
    found = [(at, number) for at, number in numbers if number is not None]
    if len(found) != 1 or not node.all_input_nodes or packet_of(node) is torch.ops.aten.pow:
        return  # an exponent counts nothing
    place, number = found[0]
    for size, labels in _candidates(flow, node):
        power = _power(number, size)
        if power is None:
            continue
        order, ids = [AS_IT_IS, FOLLOWS], labels[0].ids
        doubt = 0 if _round(number) else 1
        option = flow.choices.take(node.name + " sized", order, ids, doubt, silent=True)
        if option == FOLLOWS:
            flow.sized[node.name] = Sized(place, power, tuple(label.ids for label in labels))
        return


def _number(flow: Flow, value: object) -> float | None:
    """A number among the arguments of an operation, also as a tensor that the code makes of one."""
    found: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value)
    elif isinstance(value, Node) and not shape_of(value):
        made = _constant(flow, value)
        found = None if made is None or made.is_complex() else float(made)
    return found if found is not None and isfinite(found) else None


def _constant(flow: Flow, node: Node) -> Tensor | None:
    """What a single number that the export lifted out of the code becomes; None for others."""
    if node.name in flow.program.constants:
        found = flow.program.constants[node.name]
        return found.double() if isinstance(found, Tensor) and found.dim() == 0 else None
    source = node.args[0] if len(node.all_input_nodes) == 1 else None
    if not isinstance(source, Node) or operation_of(node.target).kind not in _OF_ONE:
        return None
    before = _constant(flow, source)
    if before is None:
        return None
    return node.target(before.clone(), *node.args[1:], **node.kwargs)  # type: ignore[operator]


def _candidates(flow: Flow, node: Node) -> Iterator[tuple[int, list[Label]]]:
    """Sizes that a number may be, with the labels of what they count.

    These are what was summed over, what a product summed over (scores of attention), and the
    operand's own (queries).
    """
    for reduced in _reductions(node):
        source, dims = _summed(reduced)
        shape = shape_of(source)
        labels = [label for label in flow.labels_of(source) if label.dim in dims]
        if labels:
            yield prod(shape[dim] for dim in dims), labels
    for operand in node.all_input_nodes:
        for label in flow.labels_of(operand):
            yield len(label.ids), [label]


def _summed(node: Node) -> tuple[Any, set[int]]:
    """What a reduction or a product sums over: dimensions of what it takes first."""
    source: Any = node.args[0]
    kind, rank = operation_of(node.target).kind, len(shape_of(source))
    if kind is Kind.EINSUM:
        operands, out = lettered(node)
        letters = operands[0].letters
        return operands[0].node, {at for at, letter in enumerate(letters) if letter not in out}
    return source, {rank - 1} if kind in PRODUCTS else dims_of(node, rank)


def _power(number: float, size: int) -> float | None:
    """The power of a size that a number is; two is a fourth root of no size, but two."""
    if size < 2:
        return None
    powers = POWERS if _round(number) else (*POWERS, *FOURTH)
    return next((power for power in powers if isclose(number, size**power, rel_tol=1e-9)), None)


def _round(number: float) -> bool:
    """True for a whole number, or one over such."""
    return number.is_integer() or (number != 0 and isclose(1 / number, round(1 / number)))


def _reductions(node: Node) -> list[Node]:
    """Reductions that a node's operands come from, entry by entry, the nearest first."""
    waiting, found, seen = list(node.all_input_nodes), list[Node](), set[Node]()
    while waiting and len(seen) < FAR:
        at = waiting.pop(0)
        if at in seen or at.op != "call_function":
            continue
        seen.add(at)
        kind = operation_of(at.target).kind
        if kind in (Kind.REDUCES, Kind.EINSUM) or kind in PRODUCTS:
            found.append(at)
        elif kind in (Kind.POINTWISE, Kind.COPIES, Kind.VIEWS, Kind.MOVES, Kind.SELECTS):
            waiting += at.all_input_nodes
    return found
