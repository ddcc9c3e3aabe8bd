"""Random graphs of coupled axes, made without a model, and what their costs really are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.allocation.shapes import Sketch
from compressor.allocation.problem import Problem, allowed_widths
from compressor.budget import Budget
from compressor.graph.graph import Graph
from compressor.graph.structure import Structure

KINDS = ("conv", "conv", "residual", "concat", "depthwise", "frozen", "restart")


@dataclass(frozen=True)
class Layer:
    """One convolution of a random network.

    conv: a new axis takes the place of all that was read; concat: a new axis is added to it;
    residual: back into the newest axis, whose square enters the cost; depthwise: on the newest
    axis; frozen: a new axis of which nothing may go; restart: reads every axis there is.
    """

    kind: str
    size: int
    kernel: int
    positions: int
    writers: int


def build(layers: Sequence[Layer], sizes: Sequence[int] | None = None) -> Graph:
    """The graph of these layers, its axes of other `sizes` if given."""
    sketch, given, axes = Sketch(), iter(sizes or ()), list[int]()
    read: list[int] = []
    for number, layer in enumerate(layers):
        name = f"layer{number}"
        if layer.kind in {"residual", "depthwise"} and read:
            newest = sketch.owners(read[-1])
            shape = (newest, newest if layer.kind == "residual" else 1, layer.kernel)
            sketch.weight(f"{name}.weight", *shape, positions=layer.positions)
            continue
        reason = "asked for" if layer.kind == "frozen" else ""
        size = next(given) if sizes is not None else layer.size
        axis = sketch.axis(name, size, writers=layer.writers, frozen=reason)
        reads = axes if layer.kind == "restart" else read
        inputs = sketch.owners(*reads) if reads else 2
        sketch.weight(
            f"{name}.weight", sketch.owners(axis), inputs, layer.kernel, positions=layer.positions
        )
        if layer.kernel > 1:
            sketch.norm(f"{name}.norm", axis, bands=layer.kernel)
        axes.append(axis)
        read = [*read, axis] if layer.kind == "concat" else [axis]
    sketch.weight("classify.weight", 3, sketch.owners(*read), positions=1)
    sketch.weight("classify.bias", 3)
    return sketch.graph()


def layers(largest: int = 6, most: int = 5) -> st.SearchStrategy[list[Layer]]:
    """Up to `most` layers of up to `largest` units."""
    layer = st.builds(
        Layer,
        st.sampled_from(KINDS),
        st.integers(1, largest),
        st.integers(1, 3),
        st.integers(1, 20),
        st.integers(1, 3),
    )
    return st.lists(layer, min_size=1, max_size=most)


def graphs(largest: int = 6, most: int = 5) -> st.SearchStrategy[Graph]:
    """Chains, residual trunks, concatenation cliques, depthwise layers, frozen axes, mixed."""
    return layers(largest, most).map(build)


def scores(graph: Graph, seed: int) -> NDArray[np.float64]:
    """Log-normal scores of random spread; some of them zero, now and then all of an axis."""
    generator = np.random.default_rng(seed)
    values = np.exp(generator.normal(0.0, generator.choice([0.3, 0.8, 1.4, 5.0]), graph.units))
    values[generator.random(graph.units) < generator.choice([0.0, 0.2])] = 0.0
    if generator.random() < 0.1 and graph.axes:
        values[graph.axes[0].units] = 0.0
    return values


def recount(structure: Structure, resource: str) -> int:
    """Cost counted entry by entry from what is alive, without any closed form."""
    graph = structure.graph
    alive = {
        name: int(np.prod([dim.alive(structure.keep).sum() for dim in weight.dims]))
        for name, weight in graph.weights.items()
    }
    if resource == "macs":
        return sum(site.positions * alive[site.weight] for site in graph.sites) + graph.const_macs
    size = {n: w.itemsize if resource == "bytes" else 1 for n, w in graph.weights.items()}
    return sum(size[n] * alive[n] for n, w in graph.weights.items() if w.trainable)


def every_point(problem: Problem) -> Iterator[NDArray[np.int64]]:
    """All widths of a small problem."""
    for widths in itertools.product(*(levels.tolist() for levels in problem.levels)):
        yield np.array(widths, dtype=np.int64)


def optimum(problem: Problem) -> float:
    """The best objective within all caps, by looking at everything."""
    fitting = (problem.value(widths) for widths in every_point(problem) if problem.fits(widths))
    return max(fitting)


def smallest(graph: Graph, floor: int = 1, round_to: int = 1) -> NDArray[np.int64]:
    """The smallest widths that these options allow."""
    least = [
        axis.size if axis.frozen else allowed_widths(axis.size, floor, round_to)[0]
        for axis in graph.axes
    ]
    return np.array(least, dtype=np.int64)


def budget(
    graph: Graph, capped: list[str], shares: list[float], low: NDArray[np.int64] | None = None
) -> Budget:
    """Caps that are shares of the way from the smallest reachable to the full cost."""
    low = smallest(graph) if low is None else low
    caps: dict[str, int] = {}
    for resource, share in zip(capped, shares, strict=False):
        form = getattr(graph, "params" if resource == "nonzero" else resource)
        caps[resource] = int(form(low) + share * (form(graph.sizes) - form(low)))
    return Budget(**caps)
