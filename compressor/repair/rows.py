"""Rows of a least-squares problem: what a weight read and wrote at some places of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from compressor.repair.applied import Applied, Geometry

ROWS = 16384
"""Rows that a layer is looked at, at most, or four times its unknowns where those are more."""


@dataclass(frozen=True)
class Places:
    """Places of the outputs of an application, one a row.

    Attributes:
        shape: Examples and sizes of space that they are among.
        examples: Number of the example.
        spots: Number of the place in (flat) space.
    """

    shape: tuple[int, ...]
    examples: Tensor
    spots: Tensor

    def second(self, number: int) -> Tensor:
        """True for rows of the second half: of the examples, so that both halves are of others.

        A batch of one example is in one half, the `number` of the batch says in which.
        """
        if self.shape[0] > 1:
            return self.examples * 2 >= self.shape[0]
        return torch.full_like(self.examples, number % 2, dtype=torch.bool)


def shape_of(applied: Applied) -> tuple[int, ...]:
    """Examples and sizes of space of what is written; rows alone of a product."""
    return (applied.outputs.shape[0], *space_of(applied))


def space_of(applied: Applied) -> tuple[int, ...]:
    """Sizes of the outputs behind batch and channel; none for a product."""
    return tuple(applied.outputs.shape[2:])


def rows_of(entries: int, applications: int) -> int:
    """Rows to take of each of so many applications of a weight of so many entries a row."""
    return max(ROWS, 4 * entries) // applications + 1


def places(applied: Applied, most: int, generator: torch.Generator) -> Places:
    """All places of the outputs, or `most` of them, drawn."""
    examples, size = applied.outputs.shape[0], prod(space_of(applied))
    total = examples * size
    if total <= most:
        flat = torch.arange(total)
    else:
        flat = torch.randint(total, (most,), generator=generator)
    return Places(shape_of(applied), flat // size, flat % size)


def written(applied: Applied, where: Places) -> Tensor:
    """Outputs at some places, (rows, channel)."""
    return at(applied.outputs, where)


def at(tensor: Tensor, where: Places) -> Tensor:
    """A tensor (batch, channel, space...) at some places, (rows, channel)."""
    if tensor.ndim < 3:
        return tensor[where.examples]
    return tensor.flatten(2)[where.examples, :, where.spots]


def read(applied: Applied, kernel: tuple[int, ...], where: Places) -> Tensor:
    """Entries that the weight is multiplied with at some places, (rows, group, entry).

    Entries run over the channels of a group and then over the taps of the kernel, as in a weight
    (out, in / groups, taps...).
    """
    examples, spots = where.examples, where.spots
    if applied.geometry is None:
        return applied.inputs[examples].unsqueeze(1)
    geometry, x = applied.geometry, applied.inputs
    x = _spaced(x, geometry, kernel) if geometry.transposed else _padded(x, geometry.padding)
    steps = (1,) * len(kernel) if geometry.transposed else geometry.stride
    index = torch.unravel_index(spots, space_of(applied))
    windows = _windows(x, kernel, steps, geometry.dilation, space_of(applied))
    taken = windows[examples, :, *index]  # (rows, channel, taps...)
    if geometry.transposed:
        taken = taken.flip(tuple(range(2, taken.ndim)))
    return taken.reshape(len(spots), geometry.groups, -1)


def _padded(x: Tensor, padding: tuple[int, ...]) -> Tensor:
    return functional.pad(x, [p for size in reversed(padding) for p in (size, size)])


def _spaced(x: Tensor, geometry: Geometry, kernel: tuple[int, ...]) -> Tensor:
    """The input of the plain convolution that a transposed one is: zeros between and around."""
    space = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], geometry.stride, strict=True)]
    wide = x.new_zeros(*x.shape[:2], *space)
    wide[(..., *(slice(None, None, step) for step in geometry.stride))] = x
    sizes = zip(geometry.dilation, kernel, geometry.padding, geometry.output_padding, strict=True)
    around = [(d * (k - 1) - p, d * (k - 1) - p + more) for d, k, p, more in sizes]
    return functional.pad(wide, [p for pair in reversed(around) for p in pair])


def _windows(
    x: Tensor,
    kernel: tuple[int, ...],
    steps: tuple[int, ...],
    dilation: tuple[int, ...],
    space: tuple[int, ...],
) -> Tensor:
    """A view (batch, channel, space..., taps...) of everything the kernel covers."""
    x = x.contiguous()
    batch, channel, *strides = x.stride()
    walk = [s * step for s, step in zip(strides, steps, strict=True)]
    taps = [s * d for s, d in zip(strides, dilation, strict=True)]
    shape = (*x.shape[:2], *space, *kernel)
    return x.as_strided(shape, (batch, channel, *walk, *taps))


def as_matrix(weight: Tensor, applied: Applied) -> Tensor:
    """A weight as one matrix a group, (group, out / groups, entry)."""
    if applied.geometry is None:
        plain = weight.flatten(1)
        return (plain.T if applied.flipped else plain).unsqueeze(0)
    groups = applied.geometry.groups
    if not applied.geometry.transposed:
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    parted = weight.reshape(groups, -1, weight.shape[1], prod(weight.shape[2:]))
    return parted.transpose(1, 2).reshape(groups, weight.shape[1], -1)


def as_weight(matrix: Tensor, like: Tensor, applied: Applied) -> Tensor:
    """The reverse of `as_matrix`, in the shape of a weight."""
    if applied.geometry is None:
        return (matrix[0].T if applied.flipped else matrix[0]).reshape(like.shape)
    if not applied.geometry.transposed:
        return matrix.reshape(like.shape)
    groups, out = applied.geometry.groups, like.shape[1]
    parted = matrix.reshape(groups, out, -1, prod(like.shape[2:])).transpose(1, 2)
    return parted.reshape(like.shape)


def part_of(matrix: Tensor, applied: Applied) -> Tensor:
    """The rows of a matrix (group, out, entry) that are applied, as a view."""
    if applied.geometry is not None or applied.flipped:
        return matrix
    return matrix[:, applied.row : applied.row + applied.outputs.shape[1]]
