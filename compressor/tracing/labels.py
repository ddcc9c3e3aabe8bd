"""Labels: who owns the entries of a tensor, and how operations that only move data move them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    found: list[int] = []
    for dim, size in enumerate(ids.shape):
        if size == 1 or ids.stride(dim) == 0:
            continue
        if bool((ids != ids.narrow(dim, 0, 1)).any()):
            found.append(dim)
    return found


def along(ids: Tensor, dim: int) -> Ids:
    """The ids along one dimension, taken at the start of all others."""
    index = tuple(slice(None) if d == dim else 0 for d in range(ids.ndim))
    return ids[index].contiguous().numpy()


def settle(ids: Tensor, couplings: Couplings) -> Label | None:
    """Turn ids per entry into a label, tying ids until only one dimension varies.

    A smaller tensor is a box: what stays along one dimension cannot depend on another. So where
    the ids vary along several dimensions (a channel dimension split into groups x channels), they
    are tied across all but the longest one: every group keeps the same offsets. Row-major order
    of the kept entries is then the same before and after a reshape, which is what makes reshapes
    of the smaller model right.
    """
    dims = varying(ids)
    if len(dims) > 1:
        ids = torch.from_numpy(couplings.canonical())[ids]
        dims = varying(ids)
    if not dims:
        couplings.freeze(ids.flatten()[:1].numpy(), "a whole tensor is made of this one channel")
        return None
    longest = max(dims, key=lambda d: ids.shape[d])
    if len(dims) > 1:
        others = tuple(slice(None) if d in dims else slice(0, 1) for d in range(ids.ndim))
        box = ids[others].movedim(longest, -1)
        rows = box.reshape(-1, box.shape[-1]).numpy()
        couplings.tie(rows, rows[0])
    return Label(longest, along(ids, longest))


def move(
    operation: Callable[[Tensor], Tensor | Sequence[Tensor]],
    label: Label,
    shape: Sequence[int],
    couplings: Couplings,
) -> Label | list[Label | None] | None:
    """The label after an operation that only moves entries: run it on the ids themselves."""
    moved = operation(spread(label, shape))
    if isinstance(moved, Tensor):
        return settle(moved, couplings)
    return [settle(part, couplings) for part in moved]
