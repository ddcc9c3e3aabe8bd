"""Widths that code may take for one another, and removals that tell them apart.

``c // heads`` is the width of a head, and so may be an attribute of the same size. A trial shows
which of them the code means where one shrinks by another share than the other. In one removal some
pairs of widths shrink alike, small ones above all; so there are others, in which these do not,
until every pair of a module has been told apart. One axis of a pair may stay whole then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from compressor.graph.graph import Dim, Graph
from compressor.tracing.couplings import Ids
from compressor.tracing.thinning import TRIES, usual

TURNS = 4
"""Most removals after the first: a pair that none of them tells apart is let go."""

NONE = -1
"""In the place of a second axis: a width that has one."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of widths, the first of which is as large as the second, or a part of it.

    A width is an axis, or a product of two: channels of attention are heads times places.

    Attributes:
        first: The axes of the first, `NONE` for no second axis, shape (pairs, 2).
        second: Those of the second.
        ratio: How many times the first is the second, shape (pairs,).
    """

    first: Ids
    second: Ids
    ratio: Ids

    def alike(self, left: Ids) -> NDArray[np.bool_]:
        """The pairs that shrink alike where so many units of every axis are left."""
        wide = np.append(left, 1)  # what NONE (-1) points to
        return wide[self.second].prod(1) // self.ratio == wide[self.first].prod(1)

    def some(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Those that are chosen."""
        return Pairs(self.first[chosen], self.second[chosen], self.ratio[chosen])

    def of(self, axis: int) -> Pairs:
        """Those that an axis is in."""
        return self.some(((self.first == axis) | (self.second == axis)).any(1))


def telling(graph: Graph, before: Sequence[Sequence[int]]) -> Sequence[int] | None:
    """Numbers of units that every axis loses next, such that more pairs are told apart.

    Args:
        graph: The graph, of which some axes may have been frozen meanwhile.
        before: What this has returned so far; the usual numbers came first.

    Returns:
        The numbers; None where all pairs have been told apart, though once at least in any case,
        and after `TURNS`.
    """
    sizes, free = graph.sizes, np.array([not axis.frozen for axis in graph.axes])
    open_, whole = _pairs(graph), tuple(sizes.tolist())
    for counts in (usual(whole, 0), *before):
        open_ = open_.some(open_.alike(np.where(free, sizes - np.array(counts), sizes)))
    if len(before) == TURNS or (before and not len(open_.ratio)):
        return None
    return _chosen(open_, sizes, free, usual(whole, len(before) + 1))


def _chosen(open_: Pairs, sizes: Ids, free: NDArray[np.bool_], counts: Sequence[int]) -> list[int]:
    """Counts like these in which as few pairs as possible shrink alike, axis by axis."""
    left = np.where(free, sizes - np.array(counts, np.int64), sizes)
    for axis in np.unique(np.concatenate([open_.first.ravel(), open_.second.ravel()])).tolist():
        if axis == NONE or not free[axis]:
            continue
        mine, size, best = open_.of(axis), int(sizes[axis]), (len(open_.ratio) + 1, 0)
        for width in dict.fromkeys((int(left[axis]), *range(size - 1, 0, -1)[:TRIES], size)):
            left[axis] = width
            best = min(best, (int(mine.alike(left).sum()), width), key=lambda pair: pair[0])
            if not best[0]:
                break
        left[axis] = best[1]
    return (sizes - left).tolist()


def _pairs(graph: Graph) -> Pairs:
    """Pairs of widths that one module works with, of which one can shrink at least."""
    sizes, found = graph.sizes.tolist(), dict[tuple[tuple[int, int], tuple[int, int]], int]()

    def size(width: tuple[int, int]) -> int:
        return sizes[width[0]] * (1 if width[1] == NONE else sizes[width[1]])

    free = {number for number, axis in enumerate(graph.axes) if not axis.frozen}
    for widths in _worked_with(graph):
        for pair in combinations(sorted(widths), 2):
            small, large = sorted(pair, key=size)
            if size(large) % size(small) == 0 and free.intersection(small + large):
                found[small, large] = size(large) // size(small)
    both = np.array(list(found), np.int64).reshape(-1, 2, 2)
    return Pairs(both[:, 0], both[:, 1], np.array(list(found.values()), np.int64))


def _worked_with(graph: Graph) -> list[set[tuple[int, int]]]:
    """The widths that a module's own layers have, and those below a module that counts some."""
    found: dict[str, set[tuple[int, int]]] = {}
    counting = {name.rpartition(".")[0] for name in graph.remembered}
    for name, weight in graph.weights.items():
        layer = name.rpartition(".")[0]
        around = {m for m in counting if not m or f"{layer}.".startswith(f"{m}.")}
        for module in {layer.rpartition(".")[0], *around}:
            for dim in weight.dims:
                found.setdefault(module, set()).update(_widths(graph, dim))
    return list(found.values())


def _widths(graph: Graph, dim: Dim) -> Iterator[tuple[int, int]]:
    """The axes that a dimension hangs on, and the products of two."""
    axis_of = np.append(graph.axis_of, NONE)  # what ALWAYS (-1) points to
    axes = [axis_of[owner] for owner in dim.owners]
    for one in axes:
        yield from ((axis, NONE) for axis in np.unique(one[one >= 0]).tolist())
    if len(axes) == 2:
        both = np.unique(np.stack(axes, 1), axis=0)
        yield from ((first, second) for first, second in both[(both >= 0).all(1)].tolist())
