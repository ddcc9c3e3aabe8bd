"""Units that can go whatever the input is, told by weights alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.graph.graph import Graph, Weight

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Spare:
    """Units that can go.

    Attributes:
        units: Boolean, one per unit.
        twins: Number of the unit that says the same and stays, one per unit; -1 for none.
    """

    units: NDArray[np.bool_]
    twins: NDArray[np.int64]

    @property
    def twinned(self) -> NDArray[np.bool_]:
        """Those whose twin stays."""
        return (self.twins >= 0) & ~self.units[self.twins]


def spare(graph: Graph, tensors: Tensors) -> Spare:
    """Units that say the same as another one of their axis, or nothing, or to nobody.

    Args:
        graph: The network's graph.
        tensors: Parameters and buffers by name.

    Returns:
        Those of which all weights that write them are zero, or the scale of their norm is; of which
        all weights that read them are zero; or of which all that writes them and is done to them
        entry by entry (norms, biases, depthwise filters) equals another unit's, of which the first
        stays.
    """
    silent, unread = (np.ones(graph.units, dtype=bool) for _ in range(2))
    stilled = np.zeros(graph.units, dtype=bool)
    traces = np.zeros(graph.units)
    applied = {site.weight for site in graph.sites}
    scales = {f"{name}.weight" for name in graph.channels}
    alone = np.array([axis.writers == 1 for axis in graph.axes], dtype=bool)[graph.axis_of]
    writing: list[_Side] = []
    draws = np.random.default_rng(0)
    for side in _sides(graph, tensors):
        some = side.owned(graph.units, (side.rows != 0).any(1))
        has = side.owned(graph.units, np.ones(len(side.owner)))
        if side.reads and side.weight.name in applied:
            unread &= some == 0
            continue
        if side.weight.name in applied:
            silent &= (some == 0) | (has == 0)
        stilled |= (some == 0) & (has > 0) & (side.weight.name in scales)
        with np.errstate(all="ignore"):  # numbers that are not finite are found elsewhere
            trace = side.rows.astype(np.float64) @ draws.standard_normal(side.rows.shape[1])
        traces += side.owned(graph.units, trace) * draws.standard_normal()
        writing.append(side)
    written = {unit for side in writing for unit in np.unique(side.owner[side.owner >= 0]).tolist()}
    found = (silent | unread) & np.isin(np.arange(graph.units), list(written))
    found |= stilled & alone
    twins = np.full(graph.units, -1)
    for axis in graph.axes:
        alike: dict[float, list[int]] = {}
        for unit in range(axis.first, axis.first + axis.size):
            alike.setdefault(float(traces[unit]), []).append(unit)
        for first, *others in alike.values():
            for unit in others:
                if unit in written and all(side.same(first, unit) for side in writing):
                    found[unit], twins[unit] = True, first
    return Spare(found, twins)


@dataclass(frozen=True)
class _Side:
    """A dimension of a weight along which units own entries.

    Attributes:
        weight: The weight.
        reads: Its layer reads the units along it.
        rows: What stands at each entry, (entry, numbers).
        owner: The unit of each entry, or -1.
    """

    weight: Weight
    reads: bool
    rows: NDArray[np.floating]
    owner: NDArray[np.int64]

    def owned(self, units: int, values: NDArray[np.generic]) -> NDArray[np.float64]:
        """Sums of one value an entry, by unit."""
        mine = self.owner >= 0
        found = np.bincount(self.owner[mine], weights=values[mine], minlength=units)
        return found.astype(np.float64)

    def same(self, one: int, other: int) -> bool:
        """True if two units own the same numbers in the same order."""
        return np.array_equal(self.rows[self.owner == one], self.rows[self.owner == other])


def _sides(graph: Graph, tensors: Tensors) -> Iterator[_Side]:
    for weight in graph.weights.values():
        tensor = tensors[weight.name].detach().cpu()
        tensor = tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
        tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        for dim, owned in enumerate(weight.dims):
            for owner in () if owned.fixed else owned.owners:
                rows = tensor.movedim(dim, 0).reshape(len(owner), -1).numpy()
                reads = dim != weight.out_dim and len(weight.dims) > 1
                yield _Side(weight, reads, rows, owner)
