"""On the way to a budget: what a structure costs, what to ask for next, what was reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from compressor.allocation import Allocation
from compressor.budget import Budget, Cost
from compressor.counting.measuring import nonzero, owned_parameters
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure, full
from compressor.inputs.copies import private_copy
from compressor.inputs.tensors import named_tensors
from compressor.reports.report import Shrink


def cost(structure: Structure) -> Cost:
    """Cost of a structure by its graph: exact, but for zeros among the weights, which it counts."""
    graph, widths = structure.graph, structure.widths
    params = graph.params(widths)
    return Cost(params=params, nonzero=params, macs=graph.macs(widths), bytes=graph.bytes(widths))


def counted(model: nn.Module, graph: Graph) -> Cost:
    """What `measure` says of a model just traced, without running it again.

    Tracing has measured it and holds the graph to that count; only zeros are left to count.
    """
    zeros = sum(p.numel() - nonzero(m, name, p) for m, name, p in owned_parameters(model))
    whole = cost(full(graph))
    return replace(whole, nonzero=whole.params - zeros)


def on_the_way(budget: Budget, now: Cost, remaining: int) -> Budget:
    """Caps for the next of `remaining` shrinks: a geometric descent from `now` to the budget."""
    caps = dict(budget.caps)
    for name, cap in budget.caps.items():
        cost = getattr(now, name)
        if remaining > 1 and cost > cap:
            caps[name] = max(cap, int(cost * (cap / cost) ** (1 / remaining)))
    return Budget(**caps)


def record(
    caps: Budget,
    reached: Cost,
    allocation: Allocation,
    difference: float | None,
    tried: Mapping[str, float],
) -> Shrink:
    """What a shrink did, as plain data."""
    return Shrink(
        caps=caps.caps,
        reached={name: getattr(reached, name) for name in caps.caps},
        method=allocation.name,
        value=allocation.value,
        bound=allocation.bound,
        gap=allocation.gap,
        binding=tuple(allocation.binding),
        unused=dict(allocation.unused),
        prices=dict(allocation.prices),
        difference=difference,
        tried=dict(tried),
    )


def embed(original: nn.Module, structure: Structure, model: nn.Module) -> nn.Module:
    """A copy of the original with a smaller model's weights in the places they were cut from."""
    large = private_copy(original)
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


def check_same_axes(name: str, before: Graph, after: Graph) -> None:
    """Check that a change of the input left the axes of channels as they were.

    Args:
        name: Of the model, for the message.
        before: Its graph.
        after: That of the changed one.

    Raises:
        ValueError: If it did not.
    """
    if [axis.size for axis in before.axes] != [axis.size for axis in after.axes]:
        raise ValueError(
            f"a change of the input makes another network of the {name}: its {len(before.axes)} "
            f"axes of channels become {len(after.axes)}, of {after.units:,} instead of "
            f"{before.units:,} units. Change the input before compressing"
        )
