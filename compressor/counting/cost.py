"""Cost of a structure by its graph, and of a model just traced."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from compressor.budget import Cost
from compressor.counting.measuring import nonzero, owned_parameters
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure, full


def cost_of(structure: Structure) -> Cost:
    """Cost of a structure by its graph: exact, but for zeros among the weights, which it counts."""
    graph, widths = structure.graph, structure.widths
    params = graph.params(widths)
    return Cost(params=params, nonzero=params, macs=graph.macs(widths), bytes=graph.bytes(widths))


def counted(model: nn.Module, graph: Graph) -> Cost:
    """The cost that `measure` finds of a model just traced, without running it again.

    Tracing has measured it and holds the graph to that count; only zeros are left to count.
    """
    zeros = sum(p.numel() - nonzero(m, name, p) for m, name, p in owned_parameters(model))
    dense = cost_of(full(graph))
    return replace(dense, nonzero=dense.params - zeros)
