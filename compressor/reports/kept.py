"""Table of what every layer kept: one row a module, whose sums are the totals."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from torch import nn

from compressor.graph.graph import Dim
from compressor.graph.structure import Structure
from compressor.inputs.functions import foreign


@dataclass(frozen=True)
class Layer:
    """One module before and after.

    Attributes:
        module: Its name in the original; "(model)" for what the model itself does.
        kind: Its class.
        channels: Channels that it writes, before and after; None where it writes none. Of a
            recurrent layer its hidden units.
        params: Parameters that it holds itself, before and after; tied ones at their first holder.
        macs: Multiply-accumulates for one input, before and after.
    """

    module: str
    kind: str
    channels: tuple[int, int] | None
    params: tuple[int, int]
    macs: tuple[int, int]


def layers(
    model: nn.Module, before: Structure, after: Structure, *, within: str = ""
) -> tuple[Layer, ...]:
    """One row for every module that holds a parameter or applies one.

    The original, `model`, is asked for the classes of its modules alone; `after`, what stays of it,
    may be of a graph whose names have `within` before them, such as ``"network."``.
    """
    old, new = _Counts(before), _Counts(after, within)
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    names = [name for name in kinds if name in old.params or name in old.macs]
    names += [name for name in old.macs if name not in kinds]
    both = old.channels.keys() & new.channels.keys()
    return tuple(
        Layer(
            module=name or "(model)",
            kind=kinds.get(name, "function"),
            channels=(old.channels[name], new.channels[name]) if name in both else None,
            params=(old.params[name], new.params[name]),
            macs=(old.macs[name], new.macs[name]),
        )
        for name in names
    )


def told(
    model: nn.Module, before: Structure, after: Structure, *, within: str = ""
) -> dict[str, tuple[int, int]]:
    """Numbers that attributes of the model's own modules held and hold, where these differ.

    Those of PyTorch's layers are the sizes of their weights, which the table of layers has.
    """
    modules = dict(model.named_modules())
    found: dict[str, tuple[int, int]] = {}
    for name, dim in before.graph.remembered.items():
        holder = modules.get(name.rpartition(".")[0])
        new = after.graph.remembered.get(within + name)
        if holder is None or new is None or foreign(type(holder).__module__):
            continue
        sizes = tuple(int(d.alive(s.keep).sum()) for d, s in ((dim, before), (new, after)))
        if sizes[0] != sizes[1]:
            found[name] = (sizes[0], sizes[1])
    return found


class _Counts:
    """Channels, parameters and MACs by module."""

    def __init__(self, structure: Structure, within: str = "") -> None:
        self.params = Counter[str]()
        self.macs = Counter[str]()
        self.channels: dict[str, int] = {}
        graph = structure.graph
        for weight in graph.weights.values():
            holder = weight.name.rpartition(".")[0].removeprefix(within)
            if weight.trainable:
                self.params[holder] += _entries(weight.dims, structure)
            if weight.trainable and weight.dims:
                dim = weight.dims[weight.out_dim or 0]
                self.channels.setdefault(holder, int(dim.alive(structure.keep).sum()))
        for name, dim in graph.remembered.items():
            holder, _, leaf = name.removeprefix(within).rpartition(".")
            if leaf == "hidden_size":  # of a recurrent layer, which has a row for every gate
                self.channels[holder] = int(dim.alive(structure.keep).sum())
        for site in graph.sites:
            entries = _entries(graph.multiplied(site), structure)
            self.macs[site.module.removeprefix(within)] += site.positions * entries
        for product in graph.products:
            entries = _entries(product.dims, structure)
            self.macs[product.module.removeprefix(within)] += product.positions * entries


def _entries(dims: tuple[Dim, ...], structure: Structure) -> int:
    return math.prod(int(d.alive(structure.keep).sum()) for d in dims)
