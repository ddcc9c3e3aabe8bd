"""Units that can go whatever the input is, told by weights alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.graph.graph import Graph, Weight

Tensors = Mapping[str, Tensor]


def spare(graph: Graph, tensors: Tensors) -> NDArray[np.bool_]:
    """Units that say the same as another one of their axis, or nothing, or to nobody.

    Args:
        graph: The network's graph.
        tensors: Parameters and buffers by name.

    Returns:
        Boolean, one per unit: all weights that write it are zero, or the scale of its norm is; all
        weights that read it are zero; or all that writes it and is done to it entry by entry
        (norms, biases, depthwise filters) equals another unit's, of which the first stays.
    """
    written: dict[int, list[bytes]] = {}
    silent, unread = (np.ones(graph.units, dtype=bool) for _ in range(2))
    stilled = np.zeros(graph.units, dtype=bool)
    applied = {site.weight for site in graph.sites}
    scales = {f"{name}.weight" for name in graph.channels}
    alone = np.array([axis.writers == 1 for axis in graph.axes], dtype=bool)[graph.axis_of]
    for weight in graph.weights.values():
        tensor = tensors[weight.name].detach().cpu()
        for dim, unit, entries in _owned(weight):
            part = tensor.index_select(dim, entries)
            zero = not bool(part.any())
            if weight.name in applied and dim != weight.out_dim and len(weight.dims) > 1:
                unread[unit] &= zero
                continue
            if weight.name in applied:
                silent[unit] &= zero
            stilled[unit] |= zero and weight.name in scales
            written.setdefault(unit, []).append(part.contiguous().numpy().tobytes())
    silent |= stilled & alone
    found = silent | unread
    for axis in graph.axes:
        seen: set[tuple[bytes, ...]] = set()
        for unit in range(axis.first, axis.first + axis.size):
            said = tuple(written.get(unit, ()))
            found[unit] |= bool(said) and said in seen
            seen.add(said)
    return found


def _owned(weight: Weight) -> Iterator[tuple[int, int, Tensor]]:
    """Dimensions of a weight, the units that own entries of them, and which these are."""
    for dim, owned in enumerate(weight.dims):
        for owner in owned.owners:
            for unit in np.unique(owner[owner >= 0]):
                yield dim, int(unit), torch.from_numpy(np.flatnonzero(owner == unit))
