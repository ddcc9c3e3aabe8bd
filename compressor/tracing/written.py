"""Numbers in the model's own code that stand for a width: ``x.view(b, 64, -1)``.

A program holds numbers alone, whether the code computes them or writes them down. Where removing
channels has broken the forward pass, the lines of the operations on them may say which.
"""

from __future__ import annotations

import re

import torch
from torch.fx import Node

from compressor.graph.graph import Graph
from compressor.tracing.lines import line_of


def blaming_numbers(graph: Graph, tried: Graph) -> dict[int, str]:
    """Reasons of axes that were frozen by a trial, with lines that have their width as a number.

    Args:
        graph: The graph before it was tried.
        tried: The graph after it.
    """
    pairs = enumerate(zip(graph.axes, tried.axes, strict=True))
    failed = {n: after.frozen for n, (before, after) in pairs if after.frozen and not before.frozen}
    found: dict[int, str] = {}
    for axis, why in failed.items():
        line, width = _written(graph, axis)
        number = _taken_out(graph)
        if line:
            held = f"{line} has its width {width} as a number: take it from a tensor, as x.shape[1]"
            found[axis] = f"{why}; {held}"
        elif number:
            held = f"{number} takes a number out of a tensor, of all inputs in a batch at once"
            found[axis] = f"{why}; {held}: let it stay a tensor"
    return found


def _taken_out(graph: Graph) -> str:
    """The first line that makes a number of Python of a tensor; empty where there is none."""
    nodes = graph.program.graph.nodes if graph.program is not None else ()
    lines = (line_of(n) for n in nodes if n.target is torch.ops.aten.item.default)
    return next(filter(None, lines), "")


def _written(graph: Graph, axis: int) -> tuple[str, int]:
    """The first line of an operation on an axis that has the size of its dimension in it."""
    if graph.program is None:
        return "", 0
    for node in graph.program.graph.nodes:
        for width in _widths(graph, node, axis):
            line = line_of(node)
            code = line.partition(": ")[2]
            if re.search(rf"(?<![\w.]){width}(?![\w.])", code):
                return line, width
    return "", 0


def _widths(graph: Graph, node: Node, axis: int) -> set[int]:
    """The sizes of the dimensions along which an operation works on an axis, if it calls any."""
    found: set[int] = set()
    if node.op != "call_function" or not any(_is_size(value) for value in node.args):
        return found
    for tensor in (node, *node.all_input_nodes):
        for _, dim in graph.activations.get(tensor.name, ()):
            if any(axis in axes for axes in graph.terms(dim)):
                found.add(dim.size)
    return found - {1}


def _is_size(value: object) -> bool:
    return isinstance(value, int | list | tuple)
