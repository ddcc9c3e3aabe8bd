"""Rules that reachability runs on: what an operation does with channels that are zero."""

from __future__ import annotations

import operator
from enum import Enum, auto

from torch.fx import Node

from compressor.graph.kinds import ENTRYWISE, Kind, Zeros
from compressor.graph.operations import Row, operation_of
from compressor.graph.program import argument


class Flow(Enum):
    """Effect of an operation on channels."""

    KEEPS = auto()
    """Channel by channel; zero where all operands are zero."""
    SCALES = auto()
    """Channel by channel; zero where any operand is zero."""
    FILLS = auto()
    """Channel by channel; zero may become something."""
    MIXES = auto()
    """Looks across channels, or nothing is known about it."""
    FILTERS = auto()
    """A convolution or linear layer whose filters are known."""


_APART = ENTRYWISE | {Kind.BATCH_NORM, Kind.PADS}
"""Kinds that keep channels apart, and of which a row says what becomes of zeros."""

_MOVING = frozenset(
    {Kind.VIEWS, Kind.SHAPED, Kind.MOVES, Kind.SHUFFLES, Kind.JOINS, Kind.STACKS, Kind.CUTS}
    | {Kind.SELECTS, Kind.PICKS, Kind.WINDOWS, Kind.REDUCES, Kind.COPIES}
)
"""Kinds that leave zeros zeros unless a row says otherwise."""


def flow_of(node: Node, labelled: set[str]) -> Flow:
    """Find the effect of an operation other than a bank on the channels of its labelled operands.

    Args:
        node: The operation.
        labelled: Names of the operations whose channels are known; others make constants, for all
            that is known.
    """
    row = operation_of(node.target)
    if row.zeros is Zeros.PRODUCT:
        return Flow.SCALES
    if node.target is operator.getitem or _keeps_zero(node, row, labelled):
        return Flow.KEEPS
    return Flow.FILLS if row.kind in _APART else Flow.MIXES


def _keeps_zero(node: Node, row: Row, labelled: set[str]) -> bool:
    """True if channels stay apart and those that are zero in all operands stay zero."""
    if row.zeros is Zeros.SUM:
        return _all_labelled(node, labelled)
    if row.zeros is Zeros.QUOTIENT:
        return not (isinstance(node.args[1], Node) and node.args[1].name in labelled)
    if row.kind is Kind.PADS:
        zero = not argument(node, "value", 0)
        return zero and argument(node, "mode", "constant") == "constant"
    stay = row.kind in _MOVING if row.zeros is None else row.zeros is Zeros.STAY
    return stay and _around_zero(node)


def _around_zero(node: Node) -> bool:
    """True if a clipping operation's range holds zero; true of all others."""
    low, high = argument(node, "min_val", 0), argument(node, "max_val", 0)
    return float(low) <= 0 <= float(high)


def _all_labelled(node: Node, labelled: set[str]) -> bool:
    """True if no operand of a sum is a constant, as far as known; zero is none."""
    tensors = [a for a in node.args[:2] if isinstance(a, Node)]
    numbers = [a for a in node.args[:2] if not isinstance(a, Node)]
    return all(t.name in labelled for t in tensors) and not any(numbers)
