"""What every layer kept: one row a module, whose sums are the totals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from compressor.graph.graph import Weight
from compressor.graph.structure import Structure


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


def layers(
    model: nn.Module, before: Structure, after: Structure, *, within: str = ""
) -> tuple[Layer, ...]:
    """One row for every module that holds a parameter or applies one.

    Args:
        model: The original, asked for the classes of its modules alone.
        before: All of it.
        after: What stays, of the same graph or of one whose names have `within` before them.
        within: Such as ``"network."``.
    """
    old, new = _Counts(before), _Counts(after, within)
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    names = [name for name in kinds if name in old.params or name in old.macs]
    names += [name for name in old.macs if name not in kinds]
    return tuple(
        Layer(
            module=name or "(model)",
            kind=kinds.get(name, "function"),
            channels=_both(old.channels.get(name), new.channels.get(name)),
            params=(old.params.get(name, 0), new.params.get(name, 0)),
            macs=(old.macs.get(name, 0), new.macs.get(name, 0)),
        )
        for name in names
    )


class _Counts:
    """Channels, parameters and MACs by module."""

    def __init__(self, structure: Structure, within: str = "") -> None:
        self.params: dict[str, int] = {}
        self.macs: dict[str, int] = {}
        self.channels: dict[str, int] = {}
        graph = structure.graph
        for weight in graph.weights.values():
            holder = weight.name.rpartition(".")[0].removeprefix(within)
            if weight.trainable:
                self._add(self.params, holder, _entries(weight, structure))
            if weight.trainable and weight.dims:
                dim = weight.dims[weight.out_dim or 0]
                self.channels.setdefault(holder, int(dim.alive(structure.keep).sum()))
        for site in graph.sites:
            entries = _entries(graph.weights[site.weight], structure)
            self._add(self.macs, site.module.removeprefix(within), site.positions * entries)

    @staticmethod
    def _add(counts: dict[str, int], name: str, number: int) -> None:
        counts[name] = counts.get(name, 0) + number


def _entries(weight: Weight, structure: Structure) -> int:
    return math.prod(int(d.alive(structure.keep).sum()) for d in weight.dims)


def _both(before: int | None, after: int | None) -> tuple[int, int] | None:
    return None if before is None or after is None else (before, after)
