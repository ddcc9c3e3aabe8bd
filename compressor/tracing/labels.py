"""Labels: who owns the entries of a tensor, and how operations that only move data move them.

A tensor may shrink along several dimensions: a weight by its outputs and its inputs, the scores of
attention by heads. It then has a label for each, a `Grid`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from compressor.tracing.couplings import FIXED, Couplings, Ids


@dataclass(frozen=True)
class Label:
    """One dimension of a tensor, and the id that owns each of its entries.

    Most tensors have one labelled dimension (usually 1, the channels); one with no label stays
    whole.
    """

    dim: int
    ids: Ids


@dataclass(frozen=True)
class Grid:
    """Several labels of one tensor, on different dimensions in ascending order."""

    labels: tuple[Label, ...]


Labelled = Label | Grid | None
"""The labels of one tensor."""


def parts(found: Labelled) -> tuple[Label, ...]:
    """The labels of a tensor, one by one."""
    if found is None:
        return ()
    return found.labels if isinstance(found, Grid) else (found,)


def together(labels: Iterable[Label], couplings: Couplings) -> Labelled:
    """The labels of one tensor as what they are together.

    Two on the same dimension (heads and their channels, flattened) make entries that live where
    both of their owners do.
    """
    by_dim: dict[int, Label] = {}
    for label in labels:
        other = by_dim.get(label.dim)
        by_dim[label.dim] = label if other is None else _crossed(other, label, couplings)
    if len(by_dim) < 2:
        return next(iter(by_dim.values()), None)
    return Grid(tuple(by_dim[dim] for dim in sorted(by_dim)))


def _crossed(first: Label, second: Label, couplings: Couplings) -> Label:
    """One label in the place of two on the same dimension."""
    if (first.ids == second.ids).all() or (second.ids == FIXED).all():
        return first
    if (first.ids == FIXED).all():
        return second
    pairs, place = np.unique(np.stack((first.ids, second.ids)), axis=1, return_inverse=True)
    ids = couplings.fresh(pairs.shape[1])
    couplings.cross(ids, pairs[0], pairs[1])
    return Label(first.dim, ids[place.reshape(-1)])


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

Split = Callable[[Tensor, list[int]], Labelled]
"""From the ids of entries, and the dimensions along which they vary, to labels, or to None."""


def settle(
    ids: Tensor, couplings: Couplings, choose: Choose, split: Split | None = None
) -> Labelled:
    """Turn ids per entry into a label, tying ids until only one dimension varies.

    A smaller tensor is a box: what stays along one dimension cannot depend on another. So where ids
    vary along several (channels split into groups x channels), they are tied across all but one:
    every group keeps the same offsets, or whole groups go. Row-major order of the kept entries is
    then the same before and after a reshape, which makes reshapes of the smaller model right. The
    other way is that both go, whole groups and the same offsets of those that stay: `split`.
    """
    dims = varying(ids)
    if len(dims) > 1:
        parted = _parted(ids, couplings)
        if parted is not None:
            return parted
        ids = torch.from_numpy(couplings.canonical())[ids]
        dims = varying(ids)
    if not dims:
        couplings.freeze(ids.flatten()[:1].numpy(), "a whole tensor is made of this one channel")
        return None
    if len(dims) == 1:
        return Label(dims[0], along(ids, dims[0]))
    both = split(ids, dims) if split is not None else None
    if both is not None:
        return both
    others = tuple(slice(None) if d in dims else slice(0, 1) for d in range(ids.ndim))
    rows = {d: _rows(ids[others], d) for d in dims}
    chosen = choose({d: couplings.units(rows[d]) for d in dims}, np.unique(rows[dims[0]]))
    couplings.tie(rows[chosen], rows[chosen][0])
    return Label(chosen, along(ids, chosen))


def _parted(ids: Tensor, couplings: Couplings) -> Labelled:
    """The labels that were put together, where a view takes them apart again; else None."""
    waiting, labels = [ids], list[Label]()
    while waiting:
        part = waiting.pop()
        dims = varying(part)
        if len(dims) == 1:
            labels.append(Label(dims[0], along(part, dims[0])))
            continue
        found = couplings.factors(part.numpy())
        if found is None:
            return None
        waiting += [torch.from_numpy(factor) for factor in found]
    return together(labels, couplings)


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
    split: Split | None = None,
) -> Labelled | list[Labelled]:
    """The label after an operation that only moves entries: run it on the ids themselves."""
    moved = operation(spread(label, shape))
    if isinstance(moved, Tensor):
        return settle(moved, couplings, choose, split)
    return [settle(part, couplings, choose, split) for part in moved]
