"""Readings of a program: one after another, until the model's own code survives one.

A view that splits channels, a size that may be two numbers, a cut that stands for a share or a
position can be meant in several ways (`compressor.tracing.choices`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from compressor.graph.graph import Graph
from compressor.tracing.axes import Numbering
from compressor.tracing.choices import Choice, Refused, refusing
from compressor.tracing.flow import Flow
from compressor.tracing.trial import free, freeze, probe, survives
from compressor.tracing.ways import Trials

NONE: Refused = MappingProxyType({})
"""No choice refused."""


@dataclass(frozen=True)
class Reading:
    """A program read in one way: the walk, its units, the graph without constant MACs."""

    flow: Flow
    numbering: Numbering
    graph: Graph


Read = Callable[[Refused], Reading]
"""Reads a program without the choices that were refused."""


def surviving(
    trials: Trials, read: Read, first: Reading, ready: Callable[[Graph], Graph]
) -> tuple[Graph, Graph]:
    """The graph of the reading that the code leaves most of, before and after it was tried.

    Where a part that goes wrong has been read in one of several ways, another is read at once:
    finding out which axes fail takes dozens of runs, and is made up for if what survives holds a
    part of the parameters that the other may free. `ready` adds to a graph what was asked for.
    """
    tried, waiting, reading = list[tuple[Graph, Graph]](), list[tuple[Graph, Graph]](), first
    for left in reversed(range(READINGS)):
        graph = ready(reading.graph)
        survived = survives(trials, graph)
        parts = [] if survived or not left else trials.suspected(graph, free(graph))
        choices = _failed(reading, graph, {axis for near in parts for axis in near}, trials)
        if choices:
            nearest = {near[0]: "a part that goes wrong" for near in parts if near}
            waiting.append((graph, freeze(graph, nearest)))
        else:
            tried.append((graph, probe(trials, graph, survived=survived)))
            choices = _failed(reading, graph, _broken(*tried[-1]), trials)
        if not choices:
            break
        reading = lively(read, refusing(reading.flow.choices.refused, choices))
    best = min(tried, key=_left)
    for graph, hoped in waiting:
        if _least(hoped)[0] + WORTH * graph.params(graph.sizes) < _least(best[1])[0]:
            best = min(best, (graph, probe(trials, graph, survived=False)), key=_left)
    return best


def _left(pair: tuple[Graph, Graph]) -> tuple[int, int, int]:
    return _least(pair[1])


def lively(read: Read, refused: Refused = NONE) -> Reading:
    """The best of a few readings, the next without choices that came to nothing in the one before.

    A view that splits channels may go on to rows or to channels; the wrong ones hold what follows.
    """
    found = [read(refused)]
    while len(found) < READINGS:
        last = found[-1]
        open_ = [choice for choice in last.flow.choices.made if not choice.last]
        held = [c for c in open_ if not (last.numbering.unit_of[c.ids] >= 0).any()]
        if not held:
            break
        found.append(read(refusing(last.flow.choices.refused, held)))
    return min(found, key=lambda reading: _least(reading.graph))


WORTH = 0.01
"""Part of the parameters for which a reading that has failed in part is looked into."""

READINGS = 6
"""How often a program is read before the code's refusals are taken for final."""


def _broken(graph: Graph, tried: Graph) -> set[int]:
    """Axes that the code did not survive."""
    pairs = enumerate(zip(graph.axes, tried.axes, strict=True))
    return {n for n, (before, after) in pairs if after.frozen and not before.frozen}


def _failed(reading: Reading, graph: Graph, broken: set[int], trials: Trials) -> list[Choice]:
    """Choices on axes that may be broken, where something else could be chosen.

    Where the code runs with less of these axes and computes something else, they are the silent
    ones.
    """

    def concerns(choice: Choice) -> bool:
        numbers = reading.numbering
        units = np.concatenate((numbers.unit_of[choice.ids], numbers.also_of[choice.ids]))
        return bool(np.isin(graph.axis_of[units[units >= 0]], list(broken)).any())

    found = [c for c in reading.flow.choices.made if not c.last and concerns(c)]
    silent = [c for c in found if c.silent]
    if silent and len(silent) < len(found):
        found = silent if trials.runs(graph, sorted(broken)) else [c for c in found if not c.silent]
    most = max((c.doubt for c in found), default=0)
    return [c for c in found if c.doubt == most]


def _least(graph: Graph) -> tuple[int, int, int]:
    """Rank a graph: cost at one unit an axis, lack of units to choose from, axes that are held."""
    held = [bool(axis.frozen) for axis in graph.axes]
    least = np.where(held, graph.sizes, 1)
    return graph.params(least), -int(graph.sizes[np.logical_not(held)].sum()), sum(held)
