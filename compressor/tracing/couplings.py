"""Ties of entries that must live or die together, collected while tracing, solved at the end.

An entry may also hang on two others: a channel of attention lives where its head and its place in
the head both do. Such entries are *crossed*; what is tied to one hangs on the same two.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Ids = NDArray[np.int64]

FIXED = 0
"""The id of entries that always stay; whatever is tied to it is frozen."""

STAYS = "tied to entries that always stay"
"""A reason, in front of what ties them."""


class Couplings:
    """A set of ids with ties between them.

    Ids are integers, one for each entry that might be removed. Tied ids share one fate. Ties are
    only collected; `solve` finds the connected components in one sparse pass, so that a network of
    a million channels costs no Python loop over channels.

    Attributes:
        at: What ties now, for reasons.
    """

    def __init__(self) -> None:
        """Start with the single id `FIXED`."""
        self._count = 1
        self._left: list[Ids] = []
        self._right: list[Ids] = []
        self._frozen: list[tuple[Ids, str]] = []
        self._crossed: list[tuple[Ids, Ids, Ids]] = []
        self._fixed: list[tuple[Ids, str]] = []
        self.at = ""

    def fresh(self, count: int) -> Ids:
        """New ids, tied to nothing."""
        ids = np.arange(self._count, self._count + count, dtype=np.int64)
        self._count += count
        return ids

    def tie(self, left: Ids, right: Ids) -> None:
        """Tie two arrays of ids entry by entry (shapes broadcast)."""
        left, right = np.broadcast_arrays(left, right)
        left, right = left.ravel(), right.ravel()
        self._left.append(left)
        self._right.append(right)
        held = (left == FIXED) ^ (right == FIXED)
        if held.any():
            self._fixed.append((left[held] + right[held], self.at))

    def cross(self, ids: Ids, rows: Ids, columns: Ids) -> None:
        """Say that each of these ids lives where its row and its column do (shapes broadcast)."""
        shape = np.broadcast_shapes(ids.shape, rows.shape, columns.shape)
        found = (np.broadcast_to(x, shape).ravel() for x in (ids, rows, columns))
        self._crossed.append(tuple(found))  # type: ignore[arg-type]

    def factors(self, ids: Ids) -> tuple[Ids, Ids] | None:
        """The rows and columns that ids were crossed of; None if one of them was not."""
        rows, columns = (np.full(self._count, -1, np.int64) for _ in range(2))
        for own, row, column in self._crossed:
            rows[own], columns[own] = row, column
        return None if (rows[ids] < 0).any() else (rows[ids], columns[ids])

    def freeze(self, ids: Ids, reason: str) -> None:
        """Say that these ids always stay, and why."""
        self._frozen.append((ids.ravel(), reason))

    def freeze_all(self, reason: str) -> None:
        """Say that every id so far always stays, and why."""
        self.freeze(np.arange(self._count, dtype=np.int64), reason)

    def roots(self, *, apart: bool = False) -> Ids:
        """Component number of every id; `apart` leaves out the ties to `FIXED`."""
        left = np.concatenate([np.zeros(0, np.int64), *self._left])
        right = np.concatenate([np.zeros(0, np.int64), *self._right])
        if apart:
            free = (left != FIXED) & (right != FIXED)
            left, right = left[free], right[free]
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

    def solve(self) -> Solved:
        """Find the component of every id, what it hangs on, and why some are frozen."""
        roots, crossed = self._closed()
        reasons: dict[int, str] = {}
        for ids, reason in self._frozen:
            for root in np.unique(roots[ids]):
                reasons.setdefault(int(root), reason)
        for ids, at in [*self._fixed, (np.array([FIXED]), "")]:
            reason = f"{STAYS}, by {at}" if at else STAYS
            for root in np.unique(roots[ids]):
                reasons.setdefault(int(root), reason)
        factors = {
            root: (row, column) for root, row, column in set(map(tuple, roots[crossed].T.tolist()))
        }
        return Solved(roots, reasons, factors).settled()

    def _closed(self) -> tuple[Ids, Ids]:
        """Components, once crossed ids that are tied hang on rows and columns that are tied.

        Ids that would hang on themselves are tied to the other end.
        """
        if not self._crossed:
            return self.roots(apart=True), np.zeros((3, 0), np.int64)
        crossed = np.stack([np.concatenate(parts) for parts in zip(*self._crossed, strict=True)])
        while True:
            roots = self.roots(apart=True)
            order = np.argsort(roots[crossed[0]], kind="stable")
            crossed = crossed[:, order]
            own, row, column = roots[crossed]
            again = np.flatnonzero((own[1:] == own[:-1]) & (row[1:] != row[:-1])) + 1
            other = np.flatnonzero((own[1:] == own[:-1]) & (column[1:] != column[:-1])) + 1
            loops = (own == row) ^ (own == column)
            if not len(again) and not len(other) and not loops.any():
                stays = (own != row) | (own != column)
                return roots, crossed[:, stays]
            self.tie(crossed[1, again], crossed[1, again - 1])
            self.tie(crossed[2, other], crossed[2, other - 1])
            self.tie(crossed[1, loops], crossed[2, loops])


@dataclass(frozen=True)
class Crossed:
    """Components that hang on others.

    Attributes:
        roots: Their numbers.
        ends: The two that each hangs on, which may be one and the same, shape (components, 2).
        alone: True for one that hangs on a single one, which stands in both places.
    """

    roots: Ids
    ends: Ids
    alone: NDArray[np.bool_]


@dataclass
class Solved:
    """Components of ids.

    Attributes:
        roots: The component of every id.
        reasons: Why a component is frozen (the first reason given), by component.
        factors: The components that a crossed one hangs on, by component.
    """

    roots: Ids
    reasons: dict[int, str]
    factors: dict[int, tuple[int, ...]]

    @cached_property
    def crossed(self) -> Crossed:
        """The components that hang on others."""
        ends = [(factors[0], factors[-1]) for factors in self.factors.values()]
        alone = [len(factors) == 1 for factors in self.factors.values()]
        roots = np.array(list(self.factors), np.int64)
        return Crossed(roots, np.array(ends, np.int64).reshape(-1, 2), np.array(alone, bool))

    def settled(self) -> Solved:
        """What hangs on what, followed to the end: at most two free components for each.

        Of a crossed component that is frozen all that it hangs on is frozen; one that hangs on
        frozen ones alone is frozen itself.
        """
        for root in list(self.factors):
            if root in self.reasons:
                self._freeze(root, self.reasons[root], set())
        found: dict[int, tuple[int, ...]] = {}
        for root in self.factors:
            left = tuple(dict.fromkeys(self._ends(root, set())))
            if len(left) > 2:
                for end in left[2:]:
                    self.reasons[end] = "its channels are split along more than two dimensions"
        for root in self.factors:
            ends = tuple(self._ends(root, set()))
            if ends:  # twice the same where rows and columns are one: a square, whose side it is
                found[root] = ends if len(ends) == 2 else tuple(dict.fromkeys(ends))
            else:
                why = self._why(root, set())
                more = f": {why}" if why else ""
                self.reasons.setdefault(root, "all that its channels are made of stays" + more)
        self.factors = found
        return self

    def _ends(self, root: int, seen: set[int]) -> list[int]:
        """The free components that one hangs on, in order."""
        if root in self.reasons or root in seen:
            return []
        if root not in self.factors:
            return [root]
        return [end for part in self.factors[root] for end in self._ends(part, seen | {root})]

    def _why(self, root: int, seen: set[int]) -> str:
        """The first reason among those of what a component hangs on."""
        for part in self.factors.get(root, ()):
            if part not in seen:
                why = self.reasons.get(part) or self._why(part, seen | {root})
                if why:
                    return why
        return ""

    def _freeze(self, root: int, reason: str, seen: set[int]) -> None:
        self.reasons.setdefault(root, reason)
        for part in self.factors.get(root, ()):
            if part not in seen:
                self._freeze(part, reason, seen | {root})


def _components(left: Ids, right: Ids, count: int) -> Ids:
    """Component number of so many ids, of which these pairs are tied."""
    edges = coo_matrix((np.ones(len(left), np.int8), (left, right)), shape=(count, count))
    return connected_components(edges, directed=False)[1].astype(np.int64)
