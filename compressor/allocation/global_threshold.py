"""One global threshold on importance, as in the FAU submission to DCASE 2022 Task 1, section 2.3.

All units of the network stand in one ordered list of (raw, un-normalised) filter norms; a binary
search finds the lowest threshold whose survivors meet every cap. A norm is taken over the inputs
that are still reachable, so dropping units of one layer lowers the norms of the next: the scores
are recomputed until no more units fall below the threshold. At least one unit of each axis stays.

Kept to reproduce that work. It compares layers by numbers that are not comparable, so it can
starve one of them, and what is left of the caps is not used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compressor.allocation.allocation import Solution
from compressor.allocation.problem import Floats, Problem
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure, full

Scores = Floats | Callable[[Structure], Floats]
"""One score per unit, or a function that recomputes them for what is still there."""


def threshold(problem: Problem, graph: Graph, scores: Scores) -> Solution:
    """The lowest threshold whose survivors meet every cap.

    Args:
        problem: Its levels say how many units an axis may keep; its smallest widths must fit.
        graph: The graph whose units are scored.
        scores: An array of shape (units,), or a function Structure -> such an array that knows
            which inputs are reachable; it is called again and again.

    Returns:
        The surviving units; no bound.
    """
    compute = scores if callable(scores) else _constant(scores)
    first = compute(full(graph))
    thresholds = np.concatenate(([-np.inf], np.unique(first), [np.inf]))
    low, high, evaluations = 0, len(thresholds) - 1, 0
    best = _smallest(problem, graph, first)
    while high - low > 1:
        middle = (low + high) // 2
        keep = survivors(problem, graph, compute, first, float(thresholds[middle]))
        evaluations += 1
        if problem.fits(Structure(graph, keep).widths):
            high, best = middle, keep
        else:
            low = middle
    return Solution(Structure(graph, best).widths, evaluations=evaluations, keep=best)


def survivors(
    problem: Problem,
    graph: Graph,
    compute: Callable[[Structure], Floats],
    first: Floats,
    limit: float,
) -> NDArray[np.bool_]:
    """The units whose score is above `limit` over what survives: a fixed point.

    Units only ever fall out, so it ends after at most as many rounds as there are units.
    """
    keep = _above(problem, graph, first, limit)
    while True:
        scores = np.where(keep, compute(Structure(graph, keep)), -np.inf)
        fewer = keep & _above(problem, graph, scores, limit)
        if (fewer == keep).all():
            return keep
        keep = fewer


def _above(problem: Problem, graph: Graph, scores: Floats, limit: float) -> NDArray[np.bool_]:
    """Per axis the units above `limit`, lowered to an allowed number of them."""
    keep = np.zeros(graph.units, dtype=bool)
    for axis, levels in zip(graph.axes, problem.levels, strict=True):
        own = scores[axis.units]
        wanted = int((own > limit).sum())
        width = levels[max(int(np.searchsorted(levels, wanted, side="right")) - 1, 0)]
        keep[axis.first + np.argsort(-own, kind="stable")[:width]] = True
    return keep


def _smallest(problem: Problem, graph: Graph, first: Floats) -> NDArray[np.bool_]:
    """What an infinite threshold leaves: the fewest units that are allowed."""
    return _above(problem, graph, first, np.inf)


def _constant(scores: Floats) -> Callable[[Structure], Floats]:
    """Scores that do not depend on what survives."""
    return lambda _: scores
