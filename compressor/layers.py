"""What every layer kept: one row a module, whose sums are the totals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from compressor.graph import Graph, Weight
from compressor.structure import Structure


@dataclass(frozen=True)
class Layer:
    """One module before and after.

    Attributes:
        module: Its name in the original; "(model)" for what the model itself does.
        kind: Its class.
        channels: Channels that it writes, before and after; None where it writes none.
        params: Parameters that it holds itself, before and after; tied ones at their first holder.
        macs: Multiply-accumulates for one input, before and after.
    """

    module: str
    kind: str
    channels: tuple[int, int] | None
    params: tuple[int, int]
    macs: tuple[int, int]


def layers(model: nn.Module, graph: Graph, structure: Structure) -> tuple[Layer, ...]:
    """One row for every module that holds a parameter or applies one.

    Args:
        model: The original, asked for the classes of its modules alone.
        graph: Its graph.
        structure: What stays.
    """
    params, macs = _params(graph, structure), _macs(graph, structure)
    channels: dict[str, tuple[int, int] | None] = {}
    for weight in graph.weights.values():
        holder = _holder(weight.name)
        channels[holder] = channels.get(holder) or _channels(weight, structure)
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    names = [name for name in kinds if name in params or name in macs]
    names += [name for name in macs if name not in kinds]
    return tuple(
        Layer(
            module=name or "(model)",
            kind=kinds.get(name, "function"),
            channels=channels.get(name),
            params=params.get(name, (0, 0)),
            macs=macs.get(name, (0, 0)),
        )
        for name in names
    )


def _holder(weight: str) -> str:
    return weight.rpartition(".")[0]


def _entries(weight: Weight, structure: Structure) -> tuple[int, int]:
    """Entries of a weight before and after."""
    before = math.prod(d.size for d in weight.dims)
    return before, math.prod(int(d.alive(structure.keep).sum()) for d in weight.dims)


def _channels(weight: Weight, structure: Structure) -> tuple[int, int] | None:
    dim = weight.out_dim if weight.out_dim is not None else 0
    if not weight.trainable or not weight.dims:
        return None
    return weight.dims[dim].size, int(weight.dims[dim].alive(structure.keep).sum())


def _params(graph: Graph, structure: Structure) -> dict[str, tuple[int, int]]:
    rows: dict[str, tuple[int, int]] = {}
    for weight in graph.weights.values():
        holder = _holder(weight.name)
        if weight.trainable:
            rows[holder] = _plus(rows.get(holder), _entries(weight, structure), 1)
    return rows


def _macs(graph: Graph, structure: Structure) -> dict[str, tuple[int, int]]:
    rows: dict[str, tuple[int, int]] = {}
    for site in graph.sites:
        entries = _entries(graph.weights[site.weight], structure)
        rows[site.module] = _plus(rows.get(site.module), entries, site.positions)
    return rows


def _plus(so_far: tuple[int, int] | None, pair: Sequence[int], factor: int) -> tuple[int, int]:
    before, after = so_far or (0, 0)
    return before + factor * pair[0], after + factor * pair[1]
