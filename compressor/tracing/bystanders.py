"""Attributes that are told a new size only where the model's code does not run without.

Several attributes may hold the number that a view was given, and the program does not say which of
them it was. One that only happens to be equal (the longest sequence, the number of a token) must
not change. So each that was noted is left out once: what is not missed stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from compressor.graph.graph import Graph
from compressor.inputs.functions import foreign

Same = Callable[[Graph], bool]
"""Says that a graph that tells fewer attributes makes the same smaller model of it."""


def needed(model: nn.Module, graph: Graph, same: Same) -> Graph:
    """The graph that tells no attribute which the code runs without, by their names in all modules.

    Those of PyTorch's own layers are known.
    """
    modules = dict(model.named_modules())
    own = [
        name
        for name in graph.remembered
        if not foreign(type(modules[name.rpartition(".")[0]]).__module__)
    ]
    for leaf in dict.fromkeys(name.rpartition(".")[2] for name in own):
        told = {
            name: dim
            for name, dim in graph.remembered.items()
            if name not in own or name.rpartition(".")[2] != leaf
        }
        without = replace(graph, remembered=told)
        if same(without):
            graph = without
    return graph
