"""Removal of some units of every axis, to see what the code makes of it.

Code that takes one width for another is found out where the two differ: of axes of one size not
equally many units go, and no width is what a division makes of another, as far as that can be.
Small axes leave no choice; they differ in another turn (`compressor.tracing.mistakes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure

SHARES = 3
"""Shares of an axis that are removed one after another: every unit has been missing once."""

TRIES = 8
"""Counts that are tried of an axis, upwards and downwards."""


def thinned(
    graph: Graph, axes: list[int], *, share: int = 0, counts: Sequence[int] | None = None
) -> Structure:
    """About a third of the units of these axes removed, seeded, at least one kept and removed.

    The first `share` is the least; the two others divide what it leaves. Where `counts` are given,
    so many units of every axis go.
    """
    keep = np.ones(graph.units, dtype=bool)
    counts = usual(tuple(graph.sizes.tolist()), 0) if counts is None else counts
    for number in axes:
        axis, random, count = graph.axes[number], np.random.default_rng(number), counts[number]
        order, half = random.permutation(axis.size), (axis.size - count + 1) // 2
        cuts = (0, count, count + half, axis.size)
        keep[axis.first + order[cuts[share] : cuts[share + 1]]] = False
    return Structure(graph, keep)


@lru_cache(maxsize=8)
def usual(sizes: tuple[int, ...], turn: int) -> list[int]:
    """About a third of every axis, such that no width says another, if that can be.

    In a later `turn` they are others.
    """
    kept: dict[int, set[int]] = {}
    counts: list[int] = []
    for number, size in enumerate(sizes):
        first, more = max(1, size // 3), max(1 + turn, 1 + size // 4)
        start = number // more**turn
        usual = [min(size - 1, first + (start + at) % more) for at in range(min(more, TRIES))]
        tries = (*usual, *range(first - 1, 0, -1)[:TRIES], *range(first + more, size)[:TRIES])
        counts.append(next((n for n in tries if not _said(size, size - n, kept)), usual[0]))
        kept.setdefault(size, set()).add(size - counts[-1])
    return counts


def _said(size: int, left: int, kept: dict[int, set[int]]) -> bool:
    """True if what is left of an axis is what a division makes of another, or the other of it."""
    for other, widths in kept.items():
        if other % size == 0:
            ratio = other // size
            if not widths.isdisjoint(range(left * ratio, (left + 1) * ratio)):
                return True
        elif size % other == 0 and left * other // size in widths:
            return True
    return False
