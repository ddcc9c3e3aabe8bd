"""Ties of entries that must live or die together, collected while tracing, solved at the end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Ids = NDArray[np.int64]

FIXED = 0
"""The id of entries that always stay; whatever is tied to it is frozen."""


class Couplings:
    """A set of ids with ties between them.

    Ids are integers, one for each entry that might be removed. Tied ids share one fate. Ties are
    only collected; `solve` finds the connected components in one sparse pass, so that a network of
    a million channels costs no Python loop over channels.
    """

    def __init__(self) -> None:
        """Start with the single id `FIXED`."""
        self._count = 1
        self._left: list[Ids] = []
        self._right: list[Ids] = []
        self._frozen: list[tuple[Ids, str]] = []

    def fresh(self, count: int) -> Ids:
        """New ids, tied to nothing."""
        ids = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        return ids

    def tie(self, left: Ids, right: Ids) -> None:
        """Tie two arrays of ids entry by entry (shapes broadcast)."""
        left, right = np.broadcast_arrays(left, right)
        self._left.append(left.ravel())
        self._right.append(right.ravel())

    def freeze(self, ids: Ids, reason: str) -> None:
        """Say that these ids always stay, and why."""
        self._frozen.append((ids.ravel(), reason))

    def freeze_all(self, reason: str) -> None:
        """Say that every id so far always stays, and why."""
        self.freeze(np.arange(self._count, dtype=np.int64), reason)

    def roots(self) -> Ids:
        """Component number of every id."""
        left = np.concatenate([np.zeros(0, np.int64), *self._left])
        right = np.concatenate([np.zeros(0, np.int64), *self._right])
        return _components(left, right, self._count)

    @property
    def count(self) -> int:
        """Number of ids."""
        return self._count

    def units(self, rows: Ids) -> int:
        """Count the units of these ids, if every row were tied to the first, entry by entry."""
        roots = self.roots()
        held = np.zeros(self._count, dtype=bool)
        for ids in (np.array([FIXED]), *(ids for ids, _ in self._frozen)):
            held[roots[ids]] = True
        names, local = np.unique(roots[rows], return_inverse=True)
        left, right = np.broadcast_arrays(local.reshape(rows.shape), local.reshape(rows.shape)[:1])
        component = _components(left.ravel(), right.ravel(), len(names))
        return len(np.unique(component)) - len(np.unique(component[held[names]]))

    def canonical(self) -> Ids:
        """The smallest id tied to every id."""
        roots = self.roots()
        return np.unique(roots, return_index=True)[1].astype(np.int64)[roots]

    def solve(self) -> tuple[Ids, dict[int, str]]:
        """Component of every id, and the reason for every frozen component (first one given)."""
        roots = self.roots()
        reasons: dict[int, str] = {}
        for ids, reason in self._frozen:
            for root in np.unique(roots[ids]):
                reasons.setdefault(int(root), reason)
        reasons.setdefault(int(roots[FIXED]), "tied to entries that always stay")
        return roots, reasons


def _components(left: Ids, right: Ids, count: int) -> Ids:
    """Component number of so many ids, of which these pairs are tied."""
    edges = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    return connected_components(edges, directed=False)[1].astype(np.int64)
