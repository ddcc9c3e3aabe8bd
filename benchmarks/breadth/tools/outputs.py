"""Layers that make a network's output: those that Torch-Pruning has to be told to leave alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.breadth.case import Inputs


def output_layers(model: nn.Module, inputs: Inputs) -> list[nn.Module]:
    """Layers with a matrix of weights that stand nearest before each output.

    They are found by walking back from the outputs through what autograd recorded.
    """
    matrices = {id(p) for p in model.parameters() if p.ndim > 1}
    with torch.enable_grad():
        outputs = pytree.tree_leaves(model(*inputs))
    nearest: set[int] = set()
    for output in outputs:
        if isinstance(output, Tensor) and output.grad_fn is not None:
            nearest |= _nearest(output.grad_fn, matrices)
    return [m for m in model.modules() if nearest & {id(p) for p in m.parameters(recurse=False)}]


def _nearest(start: Any, matrices: set[int]) -> set[int]:
    """Parameters of `matrices` that a path from a node meets first."""
    found: set[int] = set()
    seen, open_nodes = {start}, [start]
    while open_nodes:
        node = open_nodes.pop()
        before = [n for n, _ in node.next_functions if n is not None]
        own = {id(p) for n in before if (p := _parameter(n)) is not None} & matrices
        found |= own
        for each in before if not own else ():
            if each not in seen:
                seen.add(each)
                open_nodes.append(each)
    return found


def _parameter(node: Any) -> Tensor | None:
    """The parameter whose gradient a node adds up, also behind the transposition of a matrix."""
    if node.name() == "TBackward0":
        node = node.next_functions[0][0]
    return node.variable if node is not None and node.name().endswith("AccumulateGrad") else None
