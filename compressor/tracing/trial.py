"""Try a traced graph before anyone relies on it: remove some of everything and compare.

`x.view(b, 16, -1)` and `x.view(b, c // 2, -1)` look alike in a program. So a third of every axis is
removed from a copy with random weights, which is compared with its masked original. Axes that fail
are named by the parts of the network that go wrong, or found by bisection, and frozen with the
reason; what is left has been seen to work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from compressor.graph.graph import Graph
from compressor.surgery.weightings import randomised
from compressor.tracing.bystanders import needed
from compressor.tracing.mistakes import telling
from compressor.tracing.thinning import SHARES
from compressor.tracing.ways import Trials

__all__ = ["freeze", "probe", "randomised", "survives"]


def survives(trials: Trials, graph: Graph) -> bool:
    """Try all axes of a graph at once."""
    axes = free(graph)
    return not axes or trials.attempt(graph, trials.thinned(graph, axes)) is None


def probe(trials: Trials, graph: Graph, *, survived: bool) -> Graph:
    """Freeze every axis whose removal the model's own code does not survive, with the reason.

    The model stays as it is; `survived` is how the first trial of the graph has ended.
    """
    graph = _tried(trials, graph, survived=survived)
    # What an operator of one's own does with an entry is said by its user: all of them are tried.
    for trials.share in range(1, SHARES if graph.program is not None and graph.program.own else 1):
        graph = _tried(trials, graph, survived=survives(trials, graph))
    trials.share = 0
    before = list[Sequence[int]]()
    while _guesses(graph) and (counts := telling(graph, before)) is not None:
        trials.counts = counts
        graph = _tried(trials, graph, survived=survives(trials, graph))
        before.append(counts)
    trials.counts = None
    axes = free(graph)
    return needed(trials.model, graph, trials.same_as(graph, axes)) if axes else graph


def _tried(trials: Trials, graph: Graph, *, survived: bool) -> Graph:
    """Freeze axes until the code survives what is removed now."""
    while not survived:
        graph = freeze(graph, _failing(trials, graph))
        survived = survives(trials, graph)
    return graph


def _guesses(graph: Graph) -> bool:
    """True if numbers in the code were taken for sizes of channels: of heads, or remembered ones.

    Two of them may be mistaken for one another as long as they shrink alike, which they do by
    chance.
    """
    dims = (dim for weight in graph.weights.values() for dim in weight.dims)
    return bool(graph.remembered) or any(dim.also is not None for dim in dims)


def freeze(graph: Graph, reasons: dict[int, str]) -> Graph:
    """The graph with these axes frozen (axis number -> reason)."""
    axes = [replace(a, frozen=reasons.get(n, a.frozen)) for n, a in enumerate(graph.axes)]
    layers = {layer: why for n, why in reasons.items() for layer in graph.axes[n].layers}
    return replace(graph, axes=tuple(axes), frozen={**graph.frozen, **layers})


def free(graph: Graph) -> list[int]:
    """Numbers of the axes that may shrink."""
    return [number for number, axis in enumerate(graph.axes) if not axis.frozen]


def _failing(trials: Trials, graph: Graph) -> dict[int, str]:
    """Axes to freeze, with what went wrong.

    The parts of the network that go wrong say which axes those are; where they do not, and for
    those that may have been named wrongly, a search does.
    """
    axes = free(graph)
    reasons, unsure = trials.blamed(graph, axes)
    sure = {number: reason for number, reason in reasons.items() if number not in unsure}
    left = [number for number in axes if number in unsure or not reasons]
    found = sure | _culprits(trials, freeze(graph, sure), left)
    return found or _culprits(trials, graph, axes)  # those that were named were innocent


SEARCH = 48
"""Most trials of one search. One axis among thousands takes half of them; where dozens fail that
nothing tells apart, each would take as many, and each trial runs the network six times."""


def _culprits(trials: Trials, graph: Graph, axes: list[int]) -> dict[int, str]:
    """Axes that fail, with what went wrong, found by halving."""
    found = trials.attempt(graph, trials.thinned(graph, axes)) if axes else None
    return {} if found is None else _within(trials, graph, axes, found, SEARCH)


def _within(trials: Trials, graph: Graph, axes: list[int], found: str, most: int) -> dict[int, str]:
    """Axes that fail among some that do together.

    A set that only fails together is named whole, and so is one that is left after the `most`
    trials that may be made.
    """
    if len(axes) == 1:
        return {axes[0]: f"removing channels breaks the forward pass: {found}"}
    together = f"removing channels here together breaks the forward pass: {found}"
    whole = dict.fromkeys(axes, together)
    if most < 2:
        return whole
    half = len(axes) // 2
    halves = (axes[:half], axes[half:])
    tried = [(some, trials.attempt(graph, trials.thinned(graph, some))) for some in halves]
    failing = [(some, what) for some, what in tried if what is not None]
    inner: dict[int, str] = {}
    for some, what in failing:
        inner |= _within(trials, graph, some, what, (most - 2) // len(failing))
    return inner or whole
