"""The exact maximum of unary functions minus products, by bucket elimination.

    maximise over places k   sum_g u_g[k_g]  -  sum over pairs (g, j) of c_gj · v_g[k_g] · v_j[k_j]
                                             -  the same of three axes, two of which may be one

This is what is left of the integer program once the caps have prices: u holds the gains minus the
priced unary costs, v the widths, c the priced coefficients of products. Axes are maximised out one
by one (Dechter 1999), and each leaves a message to the axes it was tied to. What makes it fast here
is that the ties are products: an axis g that only takes part in products sees its neighbours
through one number, the price ``p = sum_j c_gj · v_j + sum_jk c_gjk · v_j · v_k``, so its message is
its conjugate at that price:

* one neighbour: a function of that neighbour, by one hull (chains of any width take O(n log n));
* two neighbours: a table over both, one binary search an entry;
* an axis that already holds a table, or whose square is in a product: the maximum over the full
  table of all it is tied to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from compressor.allocation.conjugates import Conjugate, conjugate
from compressor.allocation.problem import Floats, Integers

Triple = tuple[int, int, int]
"""Axes of a product of three widths, ascending; two of them may be the same."""

BLOCK = 2_000_000
"""Entries of a table that are maximised over at once; larger ones go in slices."""


@dataclass(frozen=True)
class Step:
    """One axis is maximised out.

    Attributes:
        axis: Which one.
        scope: The axes its message is a function of.
        tables: Numbers of the earlier steps whose table messages it takes in.
        products: The axes that it is tied to by a product of two.
        triples: The products of three that it is in.
    """

    axis: int
    scope: tuple[int, ...]
    tables: tuple[int, ...]
    products: tuple[int, ...]
    triples: tuple[Triple, ...] = ()

    @property
    def full(self) -> bool:
        """True if it takes a maximum over a full table."""
        return bool(self.tables) or _squared(self.axis, self.triples)


Plan = Sequence[Step]
"""An elimination order."""


def plan(
    sizes: Sequence[int],
    pairs: Iterable[tuple[int, int]],
    limit: int,
    triples: Iterable[Triple] = (),
) -> Plan | None:
    """An order by least work, one axis at a time; None if its work would exceed the limit."""
    threes: list[set[Triple]] = [set() for _ in sizes]
    for triple in triples:
        for axis in triple:
            threes[axis].add(triple)
    tied: list[set[int]] = [set() for _ in sizes]
    for i, j in pairs:
        tied[i].add(j)
        tied[j].add(i)
    scopes: dict[int, frozenset[int]] = {}
    left, steps, total = set(range(len(sizes))), list[Step](), 0
    costs = {g: _work(g, sizes, tied, threes, scopes) for g in left}
    while left:
        axis = min(left, key=lambda g: (costs[g], g))
        total += costs[axis]
        if total > limit:
            return None
        tables = tuple(n for n, scope in scopes.items() if axis in scope)
        products = tuple(sorted(tied[axis]))
        met = tuple(sorted(threes[axis]))
        scope = tuple(sorted(set(products).union(*(scopes.pop(n) for n in tables), *met) - {axis}))
        left.remove(axis)
        for other in products:
            tied[other].discard(axis)
        for triple in met:
            for other in triple:
                threes[other].discard(triple)
        if len(scope) > 1:
            scopes[len(steps)] = frozenset(scope)
        steps.append(Step(axis, scope, tables, products, met))
        costs.update({g: _work(g, sizes, tied, threes, scopes) for g in scope})
    return steps


def _work(
    axis: int,
    sizes: Sequence[int],
    tied: list[set[int]],
    threes: list[set[Triple]],
    scopes: dict[int, frozenset[int]],
) -> int:
    """Entries looked at when `axis` is eliminated next."""
    held = [scope for scope in scopes.values() if axis in scope]
    scope = tied[axis].union(*held, *threes[axis]) - {axis}
    entries = prod(sizes[g] for g in scope)
    full = held or _squared(axis, threes[axis])
    return entries * sizes[axis] if full else entries + sizes[axis]


def _squared(axis: int, triples: Iterable[Triple]) -> bool:
    return any(triple.count(axis) > 1 for triple in triples)


@dataclass(frozen=True, eq=False)
class Inner:
    """One inner maximisation.

    Attributes:
        widths: v, one array per axis, ascending.
        unary: u, one array per axis.
        products: c by pair of axes, each pair once in either order.
        triples: c by three axes, ascending, not all the same.
    """

    widths: Sequence[Floats]
    unary: Sequence[Floats]
    products: dict[tuple[int, int], float]
    triples: dict[Triple, float] = field(default_factory=dict[Triple, float])

    def product(self, i: int, j: int) -> float:
        """The coefficient of a pair."""
        found = self.products.get((i, j))
        return self.products[j, i] if found is None else found


def maximise(inner: Inner, order: Plan) -> tuple[float, Integers]:
    """The maximum and the places that attain it."""
    unary = list(inner.unary)
    tables: dict[int, Floats] = {}
    hulls: dict[int, Conjugate] = {}
    total = 0.0
    for number, step in enumerate(order):
        if step.full:
            message = _from_tables(inner, order, step, unary[step.axis], tables)
        else:
            hulls[number] = conjugate(inner.widths[step.axis], unary[step.axis])
            message = hulls[number](_price(inner, step))
        if len(step.scope) > 1:
            tables[number] = message
        elif step.scope:
            unary[step.scope[0]] = unary[step.scope[0]] + message
        else:
            total += float(message)
    return total, _trace_back(inner, order, unary, tables, hulls)


def _price(inner: Inner, step: Step) -> Floats:
    """The step's price over the grid of its scope (all of it products)."""
    price = np.zeros((1,) * len(step.scope))
    for axis in step.products:
        slope = inner.product(step.axis, axis) * inner.widths[axis]
        price = price + _along(slope, axis, step.scope)
    for triple in step.triples:
        one, other = (axis for axis in triple if axis != step.axis)
        slope = inner.triples[triple] * _along(inner.widths[one], one, step.scope)
        price = price + slope * _along(inner.widths[other], other, step.scope)
    return price


def _along(values: Floats, axis: int, scope: Sequence[int]) -> Floats:
    shape = [1] * len(scope)
    shape[scope.index(axis)] = -1
    return values.reshape(shape)


def _from_tables(
    inner: Inner, order: Plan, step: Step, unary: Floats, tables: dict[int, Floats]
) -> Floats:
    """The maximum over the step's axis of everything that holds it, over the grid of its scope."""
    grid = (step.axis, *step.scope)
    parts = [_along(unary, step.axis, grid)]
    parts += [_spread(tables[n], order[n].scope, grid) for n in step.tables]
    own = inner.widths[step.axis]
    for axis in step.products:
        slope = inner.product(step.axis, axis) * inner.widths[axis]
        parts.append(-_along(own, step.axis, grid) * _along(slope, axis, grid))
    for triple in step.triples:
        one, two, three = (_along(inner.widths[axis], axis, grid) for axis in triple)
        parts.append(-inner.triples[triple] * one * two * three)
    parts.sort(key=lambda part: part.size)
    if not step.scope:
        return sum(parts[1:], parts[0]).max()
    sizes = [len(inner.widths[g]) for g in step.scope]
    rows = max(1, BLOCK // max(1, len(own) * prod(sizes[1:])))
    pieces: list[Floats] = []
    for start in range(0, sizes[0], rows):
        # Rows of the second dimension; all of it where it is broadcast.
        cut = [part if part.shape[1] == 1 else part[:, start : start + rows] for part in parts]
        pieces.append(sum(cut[1:], cut[0]).max(axis=0))
    return np.broadcast_to(np.concatenate(pieces), sizes)


def _spread(table: Floats, scope: Sequence[int], grid: Sequence[int]) -> Floats:
    """A table over `scope`, shaped to broadcast over `grid`."""
    order = sorted(range(len(scope)), key=lambda d: grid.index(scope[d]))
    sizes = dict(zip(scope, table.shape, strict=True))
    return table.transpose(order).reshape([sizes.get(g, 1) for g in grid])


def _trace_back(
    inner: Inner,
    order: Plan,
    unary: Sequence[Floats],
    tables: dict[int, Floats],
    hulls: dict[int, Conjugate],
) -> Integers:
    """Choose the place of every axis, last eliminated first, given the later ones."""
    places = np.zeros(len(unary), dtype=np.int64)
    for number, step in reversed([*enumerate(order)]):
        others = step.products
        paid = sum(inner.product(step.axis, j) * inner.widths[j][places[j]] for j in others)
        more, bend = _met(inner, step, places)
        price = np.array(paid + more, dtype=np.float64)
        if number in hulls:
            hull = hulls[number]
            places[step.axis] = hull.corners[hull.place(price)]
            continue
        own = inner.widths[step.axis]
        height = unary[step.axis] - price * own - bend * own * own
        for table in step.tables:
            scope = order[table].scope
            where = tuple(slice(None) if g == step.axis else places[g] for g in scope)
            height = height + tables[table][where]
        places[step.axis] = int(height.argmax())
    return places


def _met(inner: Inner, step: Step, places: Integers) -> tuple[float, float]:
    """What products of three add to the price of the step's axis, and to that of its square."""
    price, bend = 0.0, 0.0
    for triple in step.triples:
        others = [axis for axis in triple if axis != step.axis]
        paid = inner.triples[triple] * prod(float(inner.widths[g][places[g]]) for g in others)
        price, bend = (price + paid, bend) if len(others) > 1 else (price, bend + paid)
    return price, bend
