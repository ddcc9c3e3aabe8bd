"""Blocks that `torch.export` sets aside, put back among the other operations.

A `with torch.autocast(...)` or `with torch.enable_grad()` in or around `forward` becomes a call of
a little graph of its own. Channels flow through it like anywhere else, so it is written out again.
The lower precision is lost with the block. Networks that run in float64 are compared there, where
autocast changes nothing; for others `rounds` says what to blame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph as FxGraph
from torch.fx import GraphModule, Node

_BLOCKS = ("wrap_with_autocast", "wrap_with_set_grad_enabled")


def rounds(module: GraphModule) -> bool:
    """True if any block lowers the precision: an autocast that is switched on."""
    return any(
        str(node.target) == "wrap_with_autocast" and bool(node.args[2])
        for block in module.modules()
        if isinstance(block, GraphModule)
        for node in block.graph.nodes
    )


def inlined(module: GraphModule) -> FxGraph:
    """The operations of a module and of all blocks in it, in order; changes them in place.

    Checks of data types are dropped: they hold for the precision of the export alone.
    """
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:  # noqa: SLF001
            module.graph.erase_node(node)
        elif str(node.target) in _BLOCKS:
            block = next(a for a in node.all_input_nodes if a.op == "get_attr")
            operands = node.args[node.args.index(block) + 1 :]
            inner = inlined(module.get_submodule(str(block.target)))  # type: ignore[arg-type]
            _splice(module.graph, node, inner, operands)
            module.graph.erase_node(block)
    return module.graph


def _splice(graph: FxGraph, call: Node, inner: FxGraph, operands: Sequence[Any]) -> None:
    """Put the operations of `inner` in the place of the call, whose results are read one by one."""
    waiting = iter(operands)
    copies: dict[Node, Any] = {}
    results: Any = ()
    with graph.inserting_before(call):
        for node in inner.nodes:
            if node.op == "placeholder":
                copies[node] = next(waiting)
            elif node.op == "output":
                results = node.args[0]
            else:
                copies[node] = graph.node_copy(node, copies.__getitem__)
    for reader in list(call.users):
        reader.replace_all_uses_with(copies[results[reader.args[1]]])
        graph.erase_node(reader)
    graph.erase_node(call)
