"""Weights of recurrent layers of which removed units stay at zero, step after step.

What a recurrent layer computes between its input and its output nobody can mask from outside: a
bias would revive a unit in the first step. A unit whose rows of all gates, biases and columns are
zero begins at zero and stays there exactly. Of an LSTM the cell gets ``0.5 * 0 + 0.5 * tanh(0)``,
of a GRU the state ``0.5 * tanh(0) + 0.5 * 0``, of a plain layer ``tanh(0)`` or ``relu(0)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.graph.graph import Graph, Weight
from compressor.graph.kinds import Kind
from compressor.graph.operations import operation_of
from compressor.graph.program import Program


def stilled(
    graph: Graph, program: Program, keep: NDArray[np.bool_], tensors: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """The tensors, with zeros in what recurrent layers have of units that are not kept."""
    names = {
        program.weights[source.name]
        for node in program.graph.nodes
        if operation_of(node.target).kind is Kind.RECURRENT
        for source in node.all_input_nodes
        if source.name in program.weights
    }
    zeroed = {name: _zeroed(tensors[name], graph.weights[name], keep) for name in sorted(names)}
    return {**tensors, **zeroed} if zeroed else tensors


def in_one_type(target: object, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of an operation, a recurrent layer's states in the type of its input.

    Its module makes zeros in that type, which a program has as they were when it was exported.
    """
    if operation_of(target).kind is not Kind.RECURRENT or len(args) < 2:
        return args
    source, states, *rest = args
    return (source, _cast(states, source.dtype), *rest)


def _cast(states: Any, dtype: torch.dtype) -> Any:
    if isinstance(states, Tensor):
        return states.to(dtype) if states.is_floating_point() else states
    return [_cast(state, dtype) for state in states]


def _zeroed(tensor: Tensor, weight: Weight, keep: NDArray[np.bool_]) -> Tensor:
    found = tensor.detach()
    for at, dim in enumerate(weight.dims):
        dead = torch.from_numpy(np.flatnonzero(~dim.alive(keep)))
        if len(dead):
            found = found.index_fill(at, dead.to(found.device), 0)
    return found
