"""What the strategies of filter pruning work on, and the first of it: coupled channels.

A target knows a graph, how to choose a structure of it within caps, what a structure leaves of a
model, and how to remove the rest from a session for good. The strategies know no more than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from compressor.inputs.batches import Batch
from compressor.phases.filters.ranking import Floats
from compressor.phases.prune import Prune
from compressor.run.calibration import calibration_loss
from compressor.run.cap_schedule import on_the_way
from compressor.run.file_size import forms, spent
from compressor.run.widths import agreed, allocated
from compressor.surgery.cutting import shrink

if TYPE_CHECKING:
    from compressor.run.training import Training
    from compressor.session import Session


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


def loss_of(session: Session, model: nn.Module, batches: Sequence[Batch]) -> float:
    """Calibration loss of a model, the same in every process."""
    value = np.array(calibration_loss(model, batches, session.loss))
    return float(agreed(session, value))


@dataclass(frozen=True)
class Channels:
    """Coupled channels: dense removal by the session's own road.

    Attributes:
        session: Whose model it is.
        prune: Settings of the one-shot choice.
        candidate: How widths are chosen afterwards.
    """

    session: Session
    prune: Prune
    candidate: Candidate

    @property
    def graph(self) -> Graph:
        """The session's."""
        return self.session.graph

    @property
    def caps(self) -> Budget:
        """What has to be met."""
        return self.session.due or self.session.budget

    @cached_property
    def costs(self) -> dict[str, Quadratic]:
        """Bytes as those of the file, where there is a cap on them."""
        return forms(self.session)

    def first(self, remaining: int = 1) -> Structure:
        """What `Prune` would remove."""
        caps = on_the_way(self.caps, spent(self.session, self.costs), remaining)
        return allocated(self.session, self.prune, caps, self.costs)[0].structure

    def nearest(self, tensors: Mapping[str, Tensor]) -> Structure:
        """`allocate` on the energies, each axis' mean 1, as it takes any other importance."""
        return allocate(
            self.graph, self._scores(tensors), self.caps,
            method=self.candidate.method, objective=self.candidate.objective,
            floor=self.prune.floor, round_to=self.prune.round_to,
            costs=self.costs,
        ).structure  # fmt: skip

    def holds(self, structure: Structure) -> bool:  # noqa: ARG002 - a Target
        """Yes: `Session.shrink` removes more where a file is still too large."""
        return True

    def smaller(self, structure: Structure) -> nn.Module:
        """By surgery on a copy."""
        return shrink(self.session.model, self.graph, structure)

    def remove(self, training: Training, structure: Structure, name: str) -> None:
        """Through `Session.shrink`, with a method that says what was chosen."""

        def chosen(problem: Problem, graph: Graph, scores: object) -> Solution:  # noqa: ARG001
            if graph.units != len(structure.keep):
                return uniform(problem)  # a second time, where the file is still too large
            return Solution(structure.widths, keep=structure.keep)

        chosen.__name__ = name
        floor, round_to = self.prune.floor, self.prune.round_to
        how = Prune(chosen, importance=frobenius, floor=floor, round_to=round_to, batches=1)
        training.shrink(how, remaining=1)

    def _scores(self, tensors: Mapping[str, Tensor]) -> Floats:
        energy = np.square(frobenius(self.graph, tensors, normalise=False))
        for axis in self.graph.axes:
            mean = energy[axis.units].mean() if axis.size else 0.0
            energy[axis.units] = energy[axis.units] / mean if mean > 0 else 1.0
        return energy
