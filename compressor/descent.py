"""On the way to a budget: what a structure costs, what to ask for next, what was reached."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from compressor.allocation import Allocation
from compressor.budget import Budget, Cost
from compressor.report import Shrink
from compressor.structure import Structure
from compressor.tracing.program import named_tensors


def cost(structure: Structure) -> Cost:
    """Cost of a structure by its graph: exact, but for zeros among the weights, which it counts."""
    graph, widths = structure.graph, structure.widths
    params = graph.params(widths)
    return Cost(params=params, nonzero=params, macs=graph.macs(widths), bytes=graph.bytes(widths))


def on_the_way(budget: Budget, now: Cost, remaining: int) -> Budget:
    """Caps for the next of `remaining` shrinks: a geometric descent from `now` to the budget."""
    caps = dict(budget.caps)
    for name, cap in budget.caps.items():
        cost = getattr(now, name)
        if remaining > 1 and cost > cap:
            caps[name] = max(cap, int(cost * (cap / cost) ** (1 / remaining)))
    return Budget(**caps)


def record(caps: Budget, reached: Cost, allocation: Allocation, difference: float | None) -> Shrink:
    """What a shrink did, as plain data."""
    return Shrink(
        caps=caps.caps,
        reached={name: getattr(reached, name) for name in caps.caps},
        method=allocation.method,
        value=allocation.value,
        bound=allocation.bound,
        gap=allocation.gap,
        binding=tuple(allocation.binding),
        unused=dict(allocation.unused),
        prices=dict(allocation.prices),
        difference=difference,
    )


def embed(original: nn.Module, structure: Structure, model: nn.Module) -> nn.Module:
    """A copy of the original with a smaller model's weights in the places they were cut from."""
    large = copy.deepcopy(original)
    targets, sources = dict(named_tensors(large)), dict(named_tensors(model))
    for name, weight in structure.graph.weights.items():
        places = [np.flatnonzero(dim.alive(structure.keep)) for dim in weight.dims]
        target, source = targets[name].detach(), sources[name].detach()
        if places:
            where = tuple(torch.from_numpy(p).to(target.device) for p in np.ix_(*places))
            target[where] = source
        else:
            target.copy_(source)
    return large
