"""Batches of data: (inputs, targets) pairs of tensors, cut into micro-batches and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, cast

from torch import Tensor, nn

Batch = Any
"""What a loader yields: for the default loss a pair (inputs, targets), where inputs is a tensor
(batch, ...) or a tuple of them; for another loss whatever it takes."""


def call(model: nn.Module, inputs: Tensor | tuple[Tensor, ...] | list[Tensor]) -> Any:  # noqa: ANN401
    """The model's output for one tensor or for several positional ones."""
    return model(inputs) if isinstance(inputs, Tensor) else model(*inputs)


def tensors(batch: Batch) -> Iterator[Tensor]:
    """Every tensor of a batch, depth first."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        yield from chain.from_iterable(map(tensors, cast("Mapping[str, Batch]", batch).values()))
    elif isinstance(batch, (tuple, list)):
        yield from chain.from_iterable(map(tensors, cast("list[Batch]", batch)))


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Cut a batch into parts of at most `size` examples along the first dimension.

    Every tensor whose first dimension is the batch's is cut; everything else goes to every part.
    """
    first = next((t for t in tensors(batch) if t.ndim), None)
    length = 0 if first is None else first.shape[0]
    for start in range(0, length, size):
        yield _part(batch, slice(start, start + size), length)


def _part(batch: Batch, where: slice, length: int) -> Batch:
    if isinstance(batch, Tensor):
        return batch[where] if batch.ndim and batch.shape[0] == length else batch
    if isinstance(batch, Mapping):
        items = cast("Mapping[str, Batch]", batch).items()
        return {key: _part(value, where, length) for key, value in items}
    if isinstance(batch, (tuple, list)):
        parts = [_part(item, where, length) for item in cast("list[Batch]", batch)]
        return tuple(parts)
    return batch
