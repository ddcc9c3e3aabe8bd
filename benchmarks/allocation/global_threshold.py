"""One global threshold on coupled channels, the row that other ways to choose widths stand beside.

All units of the network stand in one ordered list of raw filter norms; a binary search finds the
lowest threshold whose survivors meet every cap. This is the threshold of the FAU submission to
DCASE 2022 Task 1, section 2.3, on whole channels, where it starves layers; on single filters, as
in that report, it is ``FilterPruning(granularity="filters", allocator="threshold")``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.allocation import Problem, Solution
from compressor.allocation.problem import Floats
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.importance import frobenius

Bools = NDArray[np.bool_]
Norms = Callable[[Structure], Floats]
"""One score per unit, from what is still there."""


def threshold(
    problem: Problem, graph: Graph, scores: Floats, *, norms: Norms | None = None
) -> Solution:
    """The lowest threshold whose survivors meet every cap: a method of `compressor.allocate`.

    Scores are one a unit, of the whole network; `norms`, where given, are those of what is left,
    asked again and again.
    """
    thresholds = np.concatenate(([-np.inf], np.unique(scores), [np.inf]))
    low, high, evaluations = 0, len(thresholds) - 1, 0
    best = _above(problem, graph, scores, np.inf)
    while high - low > 1:
        middle = (low + high) // 2
        limit = float(thresholds[middle])
        keep = _above(problem, graph, scores, limit)
        fewer = keep & _again(problem, graph, norms, keep, limit)
        while (fewer != keep).any():  # units only ever fall out
            keep, fewer = fewer, fewer & _again(problem, graph, norms, fewer, limit)
        evaluations += 1
        if problem.fits(Structure(graph, keep).widths):
            high, best = middle, keep
        else:
            low = middle
    return Solution(Structure(graph, best).widths, evaluations=evaluations, keep=best)


def reachable_norms(graph: Graph, tensors: Mapping[str, Tensor]) -> Norms:
    """Raw Frobenius norms of filters over the inputs that a structure keeps."""
    applied = {site.weight for site in graph.sites}

    def norms(structure: Structure) -> Floats:
        held = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
        for name in applied & tensors.keys():
            held[name] = tensors[name].detach().clone()
            for at, dim in enumerate(graph.weights[name].dims):
                if at != graph.weights[name].out_dim:
                    gone = torch.from_numpy(np.flatnonzero(~dim.alive(structure.keep)))
                    held[name].index_fill_(at, gone, 0)
        return frobenius(graph, held, normalise=False)

    return norms


def _again(problem: Problem, graph: Graph, norms: Norms | None, keep: Bools, limit: float) -> Bools:
    if norms is None:
        return keep
    left = np.where(keep, norms(Structure(graph, keep)), -np.inf)
    return _above(problem, graph, left, limit)


def _above(problem: Problem, graph: Graph, scores: Floats, limit: float) -> Bools:
    """Per axis the units above `limit`, lowered to an allowed number of them."""
    keep = np.zeros(graph.units, dtype=bool)
    for axis, levels in zip(graph.axes, problem.levels, strict=True):
        own = scores[axis.units]
        wanted = int((own > limit).sum())
        width = levels[max(int(np.searchsorted(levels, wanted, side="right")) - 1, 0)]
        keep[axis.first + np.argsort(-own, kind="stable")[:width]] = True
    return keep
