"""Smaller layers inside a wider trunk: gather what is live, compute, put zeros around the result.

Units that no filter writes any more are cut out of the whole network, as in
`compressor.surgery.cutting`. Where a trunk stays wider than a layer, the layer reads the channels
that it needs and its result is spread over the trunk's channels with zeros in between: what is
counted is what is stored and executed. The layer stays an instance of its own class, which gets one
base more, and names stay. Convolution and normalisation meet in the narrow width; the latter
spreads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.graph.graph import Dim
from compressor.graph.structure import Structure
from compressor.phases.filters.uncoupled import Split
from compressor.surgery.cutting import Cut, cut


@dataclass(frozen=True)
class Ports:
    """Gathering and spreading of a slim layer, before and after its own computation.

    Attributes:
        dim: The dimension of the channels.
        gathered: The channels to read, in order; None for all.
        spread: For every channel of the result its channel in the layer's output, or the number of
            these for a zero; None where the result is the output.
    """

    dim: int
    gathered: Tensor | None = None
    spread: Tensor | None = None


class Slim(nn.Module):
    """The base that a layer's class gets: see `slim_class`.

    Attributes:
        channel_dim: The dimension of the channels.
        gathered: See `Ports`; a buffer, in the state dict.
        spread: Likewise.
    """

    channel_dim: int
    gathered: Tensor | None
    spread: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """(batch, ..., trunk channels, ...) -> the same, with as many channels as are read on."""
        if self.gathered is not None:
            x = x.index_select(self.channel_dim, self.gathered)
        x = cast("Tensor", super().forward(x))
        if self.spread is None:
            return x
        # One channel of zeros at the end, which all channels without a filter point to.
        after = [0, 0] * (x.ndim - 1 - self.channel_dim)
        return functional.pad(x, [*after, 0, 1]).index_select(self.channel_dim, self.spread)


@cache
def slim_class(kind: type[nn.Module]) -> type[nn.Module]:
    """A layer's class with `Slim` before it; one and the same for every layer of the class."""
    return cast("type[nn.Module]", type(f"Slim{kind.__name__}", (Slim, kind), {}))


def slim(model: nn.Module, split: Split, structure: Structure) -> list[Cut]:
    """Make a model, in place, store and compute what a structure keeps and nothing else.

    Args:
        model: A model like the one that `split` was made of.
        split: The model as filters.
        structure: A closed structure of ``split.graph``, see `compressor.phases.filters.reach`.
    """
    cuts = cut(model, split.graph, structure)
    adorn(model, ports(split, structure))
    return cuts


def adorn(model: nn.Module, found: Mapping[str, Ports]) -> None:
    """Make the named layers slim, in place."""
    for name, port in found.items():
        module: Any = model.get_submodule(name)
        device = next((t.device for t in [*module.parameters(), *module.buffers()]), None)
        module.__class__ = slim_class(type(module))
        module.channel_dim = port.dim
        module.register_buffer("gathered", _on(port.gathered, device))
        module.register_buffer("spread", _on(port.spread, device))


def ports(split: Split, structure: Structure) -> dict[str, Ports]:
    """Channels to gather and to spread, by layer; layers with nothing to do are left out."""
    sites = {site.weight: site for site in split.coupled.sites}
    trunk = structure.keep[: split.coupled.units]
    found: dict[str, Ports] = {}
    for bank, numbers in zip(split.banks, split.numbers, strict=True):
        site = sites[bank.weight]
        kept = np.append(structure.keep, False)
        reads = _places(site.reads, trunk, kept[numbers.inputs])
        writes = _places(site.writes, trunk, kept[numbers.filters])
        dim = _channel_dim(split, bank.nodes[0], site.kind)
        ends = bank.norms or bank.modules
        spread = None if writes is None else _inverse(writes, _count(site.writes, trunk))
        for name in dict.fromkeys((*bank.modules, *ends)):
            gathered = reads if name in bank.modules else None
            port = Ports(dim, gathered, spread if name in ends else None)
            if port.gathered is not None or port.spread is not None:
                found[name] = port
    return found


def _places(dim: Dim, trunk: np.ndarray[Any, Any], kept: np.ndarray[Any, Any]) -> Tensor | None:
    """The places of the kept entries among those of the trunk; None where they are all."""
    present, wanted = dim.alive(trunk), dim.alive(kept)
    places = np.flatnonzero(wanted[present])
    return None if len(places) == present.sum() else torch.from_numpy(places)


def _count(dim: Dim, trunk: np.ndarray[Any, Any]) -> int:
    return int(dim.alive(trunk).sum())


def _inverse(places: Tensor, width: int) -> Tensor:
    """For each of `width` channels its place in `places`, or the length of these."""
    found = torch.full((width,), len(places))
    found[places] = torch.arange(len(places))
    return found


def _channel_dim(split: Split, node: str, kind: str) -> int:
    """The channels' dimension in what a layer reads and writes, batch included."""
    program = split.coupled.program
    if kind == "conv" or program is None:
        return 1
    rank = next(n.meta["val"].ndim for n in program.graph.nodes if n.name == node)
    return int(rank) - 1


def _on(index: Tensor | None, device: torch.device | None) -> Tensor | None:
    return index if index is None or device is None else index.to(device)
