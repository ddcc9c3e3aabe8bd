"""Names of one memory: which operations of a program give a view of what came in."""

from __future__ import annotations

import operator

from torch._ops import OpOverload
from torch.fx import Node

from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of


def root(node: Node) -> Node:
    """The operation, input or weight that made the memory which a node's result lies in."""
    while (source := _viewed(node)) is not None:
        node = source
    return node


def aliases(base: Node) -> list[Node]:
    """All that may lie in the memory of `base`, itself first, views of views included."""
    found = {base: None}
    waiting = [base]
    while waiting:
        node = waiting.pop()
        for user in node.users:
            if user not in found and _viewed(user) is node:
                found[user] = None
                waiting.append(user)
    return list(found)


def _viewed(node: Node) -> Node | None:
    """The operand that a node's result may lie in, None where it has memory of its own."""
    source = node.args[0] if node.args else None
    if not isinstance(source, Node):
        return None
    if node.target is operator.getitem:
        return source if _views(source) else None
    return source if _views(node) else None


def _views(node: Node) -> bool:
    if not isinstance(node.target, OpOverload):
        return False
    returns = node.target._schema.returns  # noqa: SLF001 - the only place that says so
    # Dropout gives the very tensor that came in and does not say so.
    passes = operation_of(node.target).kind is Kind.DROPOUT
    return passes or any(result.alias_info is not None for result in returns)
