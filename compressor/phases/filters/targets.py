"""What the strategies of filter pruning work on, and the first of it: coupled channels.

A target knows a graph, how to choose a structure of it within caps, what a structure leaves of a
model, and how to remove the rest from a session for good. The strategies know no more than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor, nn

from compressor.allocation import Problem, Solution, allocate, uniform
from compressor.allocation.candidates import Candidate
from compressor.budget import Budget
from compressor.graph.graph import Graph, Quadratic
from compressor.graph.structure import Structure
from compressor.importance import frobenius
from compressor.phases.filters.ranking import Floats
from compressor.run.cap_schedule import on_the_way
from compressor.run.choice import WidthChoice
from compressor.surgery.cutting import shrink

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training


class Target(Protocol):
    """What can be removed."""

    @property
    def graph(self) -> Graph:
        """Its units are what is chosen among."""
        ...

    def first(self, remaining: int = 1) -> Structure:
        """The one-shot choice, within the caps or on the way to them."""
        ...

    def nearest(self, tensors: Mapping[str, Tensor]) -> Structure:
        """The structure within the caps that keeps the most of these tensors' energy."""
        ...

    def holds(self, structure: Structure) -> bool:
        """Whether what it leaves is within the caps in the respects that `nearest` cannot know."""
        ...

    def smaller(self, structure: Structure) -> nn.Module:
        """A smaller copy of the session's model."""
        ...

    def remove(self, training: Training, structure: Structure, name: str) -> None:
        """Remove for good what a structure does not keep, verified and recorded."""
        ...


@dataclass(frozen=True)
class Channels:
    """Coupled channels: dense removal by the session's own road.

    Attributes:
        session: Whose model it is.
        choice: Settings of the one-shot choice.
        candidate: How widths are chosen afterwards.
    """

    session: Compression
    choice: WidthChoice
    candidate: Candidate

    @property
    def graph(self) -> Graph:
        """The session's."""
        return self.session.graph

    @property
    def caps(self) -> Budget:
        """What has to be met."""
        return self.session.caps_due

    @cached_property
    def costs(self) -> dict[str, Quadratic]:
        """Bytes as those of the file, where there is a cap on them."""
        return self.session.costs()

    def first(self, remaining: int = 1) -> Structure:
        """What `Prune` would remove."""
        caps = on_the_way(self.caps, self.session.spent(self.costs), remaining)
        return self.session.allocated(self.choice, caps, self.costs)[0].structure

    def nearest(self, tensors: Mapping[str, Tensor]) -> Structure:
        """`allocate` on the energies, each axis' mean 1, as it takes any other importance."""
        return allocate(
            self.graph, self._scores(tensors), self.caps,
            method=self.candidate.method, objective=self.candidate.objective,
            floor=self.choice.floor, round_to=self.choice.round_to,
            costs=self.costs,
        ).structure  # fmt: skip

    def holds(self, structure: Structure) -> bool:  # noqa: ARG002 - a Target
        """Yes: `Session.shrink` removes more where a file is still too large."""
        return True

    def smaller(self, structure: Structure) -> nn.Module:
        """By surgery on a copy."""
        return shrink(self.session.model, self.graph, structure)

    def remove(self, training: Training, structure: Structure, name: str) -> None:
        """Through `Compression.shrink`, with a method that says what was chosen."""
        floor, round_to = self.choice.floor, self.choice.round_to
        training.shrink(
            WidthChoice(_Chosen(structure, name), None, frobenius, floor, round_to, batches=1),
            remaining=1,
        )

    def _scores(self, tensors: Mapping[str, Tensor]) -> Floats:
        energy = np.square(frobenius(self.graph, tensors, normalise=False))
        for axis in self.graph.axes:
            mean = energy[axis.units].mean() if axis.size else 0.0
            energy[axis.units] = energy[axis.units] / mean if mean > 0 else 1.0
        return energy


class _Chosen:
    """A method of `allocate` that takes a structure chosen before.

    Attributes:
        structure: Of the graph at hand.
        __name__: What reports call the method.
    """

    def __init__(self, structure: Structure, name: str) -> None:
        self.structure, self.__name__ = structure, name

    def __call__(self, problem: Problem, graph: Graph, scores: object) -> Solution:
        """The structure; one width factor where the file is still too large, of a graph cut by."""
        del scores
        if graph.units != len(self.structure.keep):
            return uniform(problem)
        return Solution(self.structure.widths, keep=self.structure.keep)
