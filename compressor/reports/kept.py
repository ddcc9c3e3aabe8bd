"""Table of what every layer kept: one row a module, whose sums are the totals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from torch import nn

from compressor.graph.graph import Dim, Graph
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
        follows: The layer whose channels a normalisation scales; empty for all others.
        bits: Mean number of bits that an entry of its weights is stored with in the result; None
            where it holds none.
        nonzero: Entries of those that are not zero.
        entries: All of them.
    """

    module: str
    kind: str
    channels: tuple[int, int] | None
    params: tuple[int, int]
    macs: tuple[int, int]
    follows: str = ""
    bits: float | None = None
    nonzero: int | None = None
    entries: int | None = None

    @property
    def density(self) -> float | None:
        """Part of the entries of its weights that are not zero; None where it holds none."""
        return None if self.nonzero is None or not self.entries else self.nonzero / self.entries


@dataclass(frozen=True)
class Held:
    """What a module of the result holds: entries of its weights, those not zero, and their bits."""

    entries: int
    nonzero: int
    bits: int


def layers(
    model: nn.Module,
    before: Structure,
    after: Structure,
    *,
    within: str = "",
    held: Mapping[str, Held] = MappingProxyType({}),
) -> tuple[Layer, ...]:
    """One row for every module that holds a parameter or applies one.

    The original, `model`, is asked for the classes of its modules alone; `after`, what stays of it,
    may be of a graph whose names have `within` before them, such as ``"network."``. `held` has what
    the result holds, by module.
    """
    old, new = _Counts(before), _Counts(after, within)
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    names = [name for name in kinds if name in old.params or name in old.macs]
    names += [name for name in old.macs if name not in kinds]
    both = old.channels.keys() & new.channels.keys()
    follows = _followed(before.graph, names)
    return tuple(
        Layer(
            module=name or "(model)",
            kind=kinds.get(name, "function"),
            channels=(old.channels[name], new.channels[name]) if name in both else None,
            params=(old.params[name], new.params[name]),
            macs=(old.macs[name], new.macs[name]),
            follows=follows.get(name, ""),
            bits=held[name].bits / held[name].entries if name in held else None,
            nonzero=held[name].nonzero if name in held else None,
            entries=held[name].entries if name in held else None,
        )
        for name in names
    )


def _followed(graph: Graph, names: Sequence[str]) -> dict[str, str]:
    """The layer that each normalisation follows: the last before it that writes its channels."""
    written = {
        weight.name.rpartition(".")[0]: weight.dims[weight.out_dim or 0]
        for weight in reversed(list(graph.weights.values()))
        if weight.trainable and weight.dims
    }
    found: dict[str, str] = {}
    free: list[str] = []
    for name in names:
        if name not in graph.channels:
            free.append(name)
            continue
        units = graph.channels[name]
        same = [layer for layer in free if layer in written and _same(written[layer], units)]
        if same:
            found[name] = same[-1]
            free.remove(same[-1])
    return found


def _same(one: Dim, other: Dim) -> bool:
    """True if two dimensions are the same entries of the same axes."""
    pairs = zip(one.owners, other.owners, strict=False)
    return len(one.owners) == len(other.owners) and all(np.array_equal(a, b) for a, b in pairs)


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
