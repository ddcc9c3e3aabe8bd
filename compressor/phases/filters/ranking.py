"""Comparison of filters with one another: numbers by layer, for one threshold over all of them.

`reachable_norms` is the importance of the 2022 report, section 2.3: the Frobenius norm of a filter
over its inputs that are still reachable, ``sqrt(sum over k in K of ||W[j, k]||^2)``, raw, so that a
depthwise filter of 3 weights stands in one list with a pointwise one of 200. The report tried the
maximum norm too and dropped it. `ranks` makes one width factor of it: a filter's place in its own
layer, so that a threshold keeps the same share everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compressor.graph.graph import ALWAYS, Units, Weight
from compressor.importance import by_owner
from compressor.phases.filters.uncoupled import Bools, Split

Floats = NDArray[np.float64]

Ranking = Callable[[int, Bools], Floats]
"""Called with the number of a bank and its live inputs (as coupled units); returns one number for
every coupled unit, of which those of the bank's filters are looked at."""


def reachable_norms(split: Split, tensors: Mapping[str, Tensor]) -> Ranking:
    """Frobenius norms, over the live inputs, of a model's weights or the ``w + u`` of ADMM."""
    weights = split.coupled.weights
    tables = {
        place: _table(weights[bank.weight], tensors[bank.weight])
        for place, bank in enumerate(split.banks)
        if len(split.of(place))
    }

    def norms(bank: int, entering: Bools) -> Floats:
        found = np.zeros(split.coupled.units)
        table = tables.get(bank)
        if table is None:
            return found
        alive = np.append(entering, True)[table.inputs].astype(np.float64)
        found[table.filters] = np.sqrt(table.squares @ alive)
        return found

    return norms


def fixed(split: Split, scores: Floats) -> Ranking:
    """Numbers that do not depend on what is live: one for every unit of ``split.graph``."""

    def given(bank: int, entering: Bools) -> Floats:  # noqa: ARG001 - a Ranking
        return np.append(scores, 0.0)[split.numbers[bank].filters]

    return given


def ranks(split: Split, scores: Floats) -> Floats:
    """The share of its own layer's filters that a filter is at least as good as, in (0, 1].

    Ties are broken by number: the first of equal filters is the best.
    """
    found = np.zeros(split.graph.units)
    for bank in range(len(split.banks)):
        own = split.of(bank)
        order = own[np.argsort(-scores[own], kind="stable")]
        found[order] = 1 - np.arange(len(own)) / max(len(own), 1)
    return found


@dataclass(frozen=True)
class _Table:
    """Sums of squares of a bank's weights by filter and input, and whose they are."""

    filters: Units
    inputs: Units
    squares: Floats


def _table(weight: Weight, tensor: Tensor) -> _Table:
    """Add up what has the same filter and the same input; -1 is what always stays."""
    out = weight.out_dim or 0
    energy = tensor.detach().double().square().movedim(out, 0).cpu()
    dims = [dim for place, dim in enumerate(weight.dims) if place != out]
    read = next((place for place, dim in enumerate(dims) if not dim.fixed), None)
    others = [place + 1 for place in range(len(dims)) if place != read]
    energy = energy.sum(others) if others else energy
    inputs = np.array([ALWAYS]) if read is None else dims[read].owner
    rows, columns = weight.dims[out].owner, inputs
    summed = by_owner(energy.reshape(len(rows), len(columns)), rows)
    squares = by_owner(summed.T, columns).T.numpy()
    filters, kept = np.unique(rows), np.unique(rows) >= 0
    return _Table(filters[kept], np.unique(columns), squares[kept])
