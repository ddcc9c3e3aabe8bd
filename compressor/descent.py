"""On the way to a budget: what a structure costs, what to ask for next, what was reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from compressor.allocation import Allocation
from compressor.budget import Budget, Cost
from compressor.copies import private_copy
from compressor.errors import VerificationError
from compressor.graph import Graph
from compressor.measure import Example, measure, nonzero, owned_parameters
from compressor.report import Shrink
from compressor.structure import Structure, full
from compressor.tracing.program import named_tensors


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


def recount(
    model: nn.Module,
    predicted: Cost | None,
    example: Example,
    budget: Budget,
    *,
    file: int | None = None,
) -> Cost:
    """Measure a smaller model and hold it to its graph's prediction, if any, and to the caps.

    Args:
        model: What is measured.
        predicted: By its graph; None where it has none.
        example: Its input.
        budget: The caps.
        file: Bytes of its file, which a cap on bytes then counts.

    Raises:
        VerificationError: If it costs anything but what was predicted, or more than allowed.
    """
    after = measure(model, example)
    names = () if predicted is None else ("params", "macs", "bytes")
    pairs = {n: (getattr(predicted, n), getattr(after, n)) for n in names}
    wrong = [f"{n} {b:,} instead of {a:,}" for n, (a, b) in pairs.items() if a != b]
    if wrong:
        raise VerificationError(
            f"the smaller {type(model).__name__} was counted anew and has {', '.join(wrong)}, "
            "which its graph predicted. Nothing was returned. Please report the model"
        )
    held = after if file is None else replace(after, bytes=file)
    over = [f"{n} {getattr(held, n):,} > {budget.caps[n]:,}" for n in budget.excess(held)]
    if over:
        raise VerificationError(
            f"the result was asked to meet {budget} and does not: {', '.join(over)}. "
            "End the schedule with a Prune phase, or call Session.shrink()"
        )
    return after


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
