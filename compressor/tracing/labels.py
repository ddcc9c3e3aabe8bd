"""Labels: who owns the entries of a tensor, and how operations that only move data move them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressor.tracing.couplings import Couplings, Ids


@dataclass(frozen=True)
class Label:
    """One dimension of an activation, and the id that owns each of its entries.

    An activation has at most one labelled dimension (usually 1, the channels); a tensor with
    no label stays whole.
    """

    dim: int
    ids: Ids


def spread(label: Label, shape: Sequence[int]) -> Tensor:
    """The label as an integer tensor of the activation's shape (without taking its memory)."""
    view = [1] * len(shape)
    view[label.dim] = len(label.ids)
    return torch.from_numpy(label.ids).reshape(view).expand(*shape)


def varying(ids: Tensor) -> list[int]:
    """The dimensions along which the ids are not constant."""
    large = [d for d, size in enumerate(ids.shape) if size > 1 and ids.stride(d)]
    return [d for d in large if bool((ids != ids.narrow(d, 0, 1)).any())]


def along(ids: Tensor, dim: int) -> Ids:
    """The ids along one dimension, taken at the start of all others."""
    index = tuple(slice(None) if d == dim else 0 for d in range(ids.ndim))
    return ids[index].contiguous().numpy()


Choose = Callable[[Mapping[int, int], Ids], int]
"""From the units that are left by dimension, and the ids, to the dimension that is to shrink."""


def settle(ids: Tensor, couplings: Couplings, choose: Choose) -> Label | None:
    """Turn ids per entry into a label, tying ids until only one dimension varies.

    A smaller tensor is a box: what stays along one dimension cannot depend on another. So where ids
    vary along several (channels split into groups x channels), they are tied across all but one:
    every group keeps the same offsets, or whole groups go. Row-major order of the kept entries is
    then the same before and after a reshape, which makes reshapes of the smaller model right.
    """
    dims = varying(ids)
    if len(dims) > 1:
        ids = torch.from_numpy(couplings.canonical())[ids]
        dims = varying(ids)
    if not dims:
        couplings.freeze(ids.flatten()[:1].numpy(), "a whole tensor is made of this one channel")
        return None
    if len(dims) == 1:
        return Label(dims[0], along(ids, dims[0]))
    others = tuple(slice(None) if d in dims else slice(0, 1) for d in range(ids.ndim))
    rows = {d: _rows(ids[others], d) for d in dims}
    chosen = choose({d: couplings.units(rows[d]) for d in dims}, np.unique(rows[dims[0]]))
    couplings.tie(rows[chosen], rows[chosen][0])
    return Label(chosen, along(ids, chosen))


def _rows(box: Tensor, dim: int) -> Ids:
    """Entries along one dimension, a row for every position in the others."""
    box = box.movedim(dim, -1)
    return box.reshape(-1, box.shape[-1]).numpy()


def move(
    operation: Callable[[Tensor], Tensor | Sequence[Tensor]],
    label: Label,
    shape: Sequence[int],
    couplings: Couplings,
    choose: Choose,
) -> Label | list[Label | None] | None:
    """The label after an operation that only moves entries: run it on the ids themselves."""
    moved = operation(spread(label, shape))
    if isinstance(moved, Tensor):
        return settle(moved, couplings, choose)
    return [settle(part, couplings, choose) for part in moved]
