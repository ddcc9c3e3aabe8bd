"""Integer programs whose costs are products of up to three widths, random ones and attention's."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from compressor.allocation.objective import LogRetention, Objective
from compressor.allocation.problem import Problem
from compressor.graph.graph import Polynomial


@st.composite
def polynomials(draw: st.DrawFn, axes: int) -> Polynomial:
    """Costs in so many widths, with squares and cubes."""
    coefficients = st.integers(0, 9)
    linear = draw(st.lists(coefficients, min_size=axes, max_size=axes))
    twos = [*itertools.combinations_with_replacement(range(axes), 2)]
    threes = [*itertools.combinations_with_replacement(range(axes), 3)]
    pairs = draw(st.lists(st.sampled_from(twos), unique=True, max_size=6))
    triples = draw(st.lists(st.sampled_from(threes), unique=True, min_size=1, max_size=8))
    return Polynomial(
        draw(coefficients),
        tuple(linear),
        tuple(pairs),
        tuple(draw(st.lists(coefficients, min_size=len(pairs), max_size=len(pairs)))),
        tuple(triples),
        tuple(draw(st.lists(coefficients, min_size=len(triples), max_size=len(triples)))),
    )


@st.composite
def problems(draw: st.DrawFn, most: int = 5) -> Problem:
    """Up to `most` axes of few levels, some of them of one; one or two caps."""
    axes = draw(st.integers(1, most))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    counts = draw(st.lists(st.integers(1, 4), min_size=axes, max_size=axes))
    levels = tuple(np.cumsum(generator.integers(1, 4, n)) for n in counts)
    gains = tuple(np.cumsum(generator.exponential(1.0, n)) for n in counts)
    names = ("params", "macs")[: draw(st.integers(1, 2))]
    costs = {name: draw(polynomials(axes)) for name in names}
    low, high = (np.array([w[end] for w in levels]) for end in (0, -1))
    caps = {
        name: max(1, cost(low) + int(draw(st.floats(0, 1)) * (cost(high) - cost(low))))
        for name, cost in costs.items()
    }
    return Problem(levels, gains, costs, caps, sum(float(g[-1] - g[0]) for g in gains) or 1.0)


def transformer(
    *,
    blocks: int,
    trunk: int,
    heads: int,
    width: int,
    hidden: int,
    tokens: int = 197,
    share: float = 0.4,
    objective: Objective | None = None,
    seed: int = 0,
) -> Problem:
    """Attention blocks on one trunk under caps on parameters and MACs that are shares of all.

    Axes: the trunk, then for every block its heads, the width of a head's queries and keys, that of
    its values, and the hidden units of its MLP.
    """
    objective = objective or LogRetention()
    sizes, writers = [trunk], [1 + 2 * blocks]
    params, macs = _Sum(), _Sum()
    params.add(3 * 16 * 16 + 4 + tokens, 0)  # patches, their bias, the last norm, the places
    macs.add(3 * 16 * 16 * (tokens - 1), 0)
    for _ in range(blocks):
        head, query, value, inner = (len(sizes) + n for n in range(4))
        sizes += [heads, width, width, hidden]
        writers += [4, 2, 1, 1]
        for factor, each in ((2, query), (2, value)):  # two projections for each of the widths
            params.add(factor, 0, head, each)
            macs.add(factor * tokens, 0, head, each)
            macs.add(tokens**2, head, each)
        params.add(2, head, query)
        params.add(1, head, value)
        params.add(2, 0, inner)
        params.add(1, inner)
        params.add(6, 0)
        macs.add(2 * tokens, 0, inner)
    costs = {"params": params.over(len(sizes)), "macs": macs.over(len(sizes))}
    generator = np.random.default_rng(seed)
    scores = [np.exp(generator.normal(0.0, 0.8, size)) for size in sizes]
    levels = tuple(np.arange(1, size + 1) for size in sizes)
    axes = zip(scores, levels, writers, strict=True)
    gains = tuple(objective.gains(score, level, count) for score, level, count in axes)
    scale = objective.scale(np.array([g[-1] for g in gains]), np.array(writers))
    caps = {name: int(share * cost(np.array(sizes))) for name, cost in costs.items()}
    return Problem(levels, gains, costs, caps, scale)


class _Sum:
    """A cost under construction."""

    def __init__(self) -> None:
        self._terms = Counter[tuple[int, ...]]()

    def add(self, coefficient: int, *axes: int) -> None:
        """Add a product of widths."""
        self._terms[tuple(sorted(axes))] += coefficient

    def over(self, axes: int) -> Polynomial:
        """The cost in so many widths."""
        pairs = {(i, j): c for (i, j), c in self._of(2)}
        triples = {(i, j, k): c for (i, j, k), c in self._of(3)}
        return Polynomial(
            self._terms[()],
            tuple(self._terms[axis,] for axis in range(axes)),
            tuple(pairs),
            tuple(pairs.values()),
            tuple(triples),
            tuple(triples.values()),
        )

    def _of(self, degree: int) -> Sequence[tuple[tuple[int, ...], int]]:
        return [(axes, c) for axes, c in sorted(self._terms.items()) if len(axes) == degree]
