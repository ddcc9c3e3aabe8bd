"""The threshold that is compared with: the lowest that fits, by what is still reachable."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.allocation.global_threshold import reachable_norms, threshold
from benchmarks.allocation.shapes import Sketch
from compressor.allocation import allocate
from compressor.budget import Budget
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure, full
from compressor.tracing.tracer import trace
from tests.helpers.graphs import budget, graphs, recount, scores
from tests.helpers.tiny import tiny

SEEDS = st.integers(0, 2**31)
SHARES = st.floats(0, 1.05)


def two_layers() -> tuple[Graph, Callable[[Structure], NDArray[np.float64]]]:
    """Two filters read by three; the norm of each of these falls with the inputs that go."""
    sketch = Sketch()
    first, second = sketch.axis("first", 2), sketch.axis("second", 3)
    sketch.weight("first.weight", sketch.owners(first), 1, positions=1)
    sketch.weight("second.weight", sketch.owners(second), sketch.owners(first), positions=1)
    entries = np.array([[3.0, 1.0], [0.5, 3.0], [2.0, 2.0]])

    def norms(structure: Structure) -> NDArray[np.float64]:
        reachable = entries * structure.keep[:2]
        return np.concatenate(([4.0, 1.5], np.linalg.norm(reachable, axis=1)))

    return sketch.graph(), norms


def test_threshold_recomputes_what_is_reachable() -> None:
    graph, norms = two_layers()
    # Dropping the second input lowers the norms from (3.16, 3.04, 2.83) to (3, 0.5, 2), so that
    # the filter in the middle goes before the last although it came second.
    whole = norms(full(graph))
    by_norm = partial(threshold, norms=norms)
    found = allocate(graph, whole, Budget(params=3), method=by_norm)
    assert found.structure.keep.tolist() == [True, False, True, False, True]
    static = allocate(graph, whole, Budget(params=3), method=threshold)
    assert static.structure.keep.tolist() == [True, False, True, True, False]


@given(graphs(), SEEDS, st.lists(SHARES, min_size=2, max_size=2))
@settings(max_examples=60, deadline=None)
def test_threshold_is_the_lowest_that_fits(graph: Graph, seed: int, shares: list[float]) -> None:
    values = scores(graph, seed)
    caps = budget(graph, ["params", "macs"], shares)
    found = allocate(graph, values, caps, method=threshold)
    fitting = []
    for limit in (-np.inf, *np.unique(values), np.inf):
        keep = values > limit
        for axis in graph.axes:
            own = keep[axis.units]
            own[np.argmax(values[axis.units])] = True
            own |= bool(axis.frozen)
        structure = Structure(graph, keep)
        if recount(structure, "params") <= caps.caps["params"] and (
            recount(structure, "macs") <= caps.caps["macs"]
        ):
            fitting.append(keep)
    assert (found.structure.keep == fitting[0]).all()


def test_norms_are_of_filters_over_what_is_kept() -> None:
    model = tiny()
    graph = trace(model)
    down = next(axis for axis in graph.axes if "down" in axis.layers)
    norms = reachable_norms(graph, dict(model.named_parameters()))
    by_hand = model.down.weight.detach().double().flatten(1).norm(dim=1).numpy()
    np.testing.assert_allclose(norms(full(graph))[down.units], by_hand, rtol=1e-12)
    reads = next(site for site in graph.sites if site.module == "down").reads
    keep = np.ones(graph.units, dtype=bool)
    keep[reads.owner[0]] = False
    rest = model.down.weight.detach().double()[:, 1:].flatten(1).norm(dim=1).numpy()
    np.testing.assert_allclose(norms(Structure(graph, keep))[down.units], rest, rtol=1e-12)
