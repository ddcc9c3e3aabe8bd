"""ADMM on the way to a structure: training, then removal of what the best projection leaves out.

Every few steps x = v + u is projected onto the budget: the structure within the caps that keeps the
most of ``sum of H * x^2`` over the weights that write a unit (its filter, bias, and the scale and
shift of its normalisation), H being the Fisher diagonal averaged over every filter, or 1. After
every step all weights are pulled by the same share of the way there (`compressor.phases.admm`).
What is out comes back by what the loss moves it between two projections against the pull, about
``lr * steps / pull``: in a run that is short the mask is still that of the first projection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressor.graph.graph import Graph
from compressor.graph.structure import Structure
from compressor.importance import Tensors, gradients, squared, writers
from compressor.inputs.batches import Batch
from compressor.inputs.tensors import all_tensors, fill
from compressor.phases.admm import Admm, Best, State, start, tied, update
from compressor.phases.filters.singles import Filters
from compressor.run.widths import agreed_loss

if TYPE_CHECKING:
    from compressor.run.compression import Compression
    from compressor.run.training import Training


@dataclass(frozen=True)
class AdmmOnFilters:
    """ADMM in one part of a run: the state lasts in `Training.state`.

    Attributes:
        training: The run.
        filters: The filters, and how they are chosen and removed.
        admm: Settings of the duals and of rho.
        updates: Projections an epoch.
    """

    training: Training
    filters: Filters
    admm: Admm
    updates: int

    @property
    def weights(self) -> dict[str, Tensor]:
        """The parameters that write units, as they are now."""
        named = dict(self.training.session.model.named_parameters())
        return {name: named[name].detach() for name in writers(self.filters.graph)}

    def project(self, point: Tensors, metric: Tensors, rho: float) -> dict[str, Tensor]:  # noqa: ARG002
        """The nearest point within the caps: a `compressor.phases.admm.Projection`."""
        stays = alive(self.filters.graph, self.nearest(point, metric))
        return {n: torch.where(stays[n].to(p.device), p, 0.0) for n, p in point.items()}

    def nearest(self, point: Tensors, metric: Tensors) -> Structure:
        """The structure of the nearest point within the caps."""
        return self.filters.nearest({n: metric[n].sqrt() * p for n, p in point.items()})

    def begin(self, metric: Tensors | None, lr: float) -> None:
        """Write the first state: the weights projected, the duals zero."""
        rho = tied(self.admm.pull, lr, self.every)
        state = start(self.weights, self.project, rho=rho, metric=metric)
        self.training.state["admm"] = state.tree()

    def epoch(self, over: float) -> Callable[[], None]:
        """Hook to run after every step of an epoch: a pull, and now and then a projection."""
        training = self.training
        done = 0

        def after() -> None:
            nonlocal done
            done += 1
            state = State.of(training.state["admm"])
            _pull(self, state)
            if done % self.every == 0 and not state.stopped:
                state, what = update(
                    self.admm, state, self.weights, self.project,
                    lr=self.lr, steps=self.every, over=over,
                )  # fmt: skip
                training.state["admm"] = state.tree()
                training.logged(**what.numbers())

        return after

    def structure(self) -> Structure:
        """Structure it has got to: that of v + u."""
        state = State.of(self.training.state["admm"])
        point = {name: v + state.u[name] for name, v in self.weights.items()}
        return self.nearest(point, state.metric)

    @property
    def lr(self) -> float:
        """The learning rate of the step at hand."""
        optimizer = self.training.session.optimizer
        return 0.0 if optimizer is None else float(optimizer.param_groups[0]["lr"])

    @property
    def every(self) -> int:
        """Steps from one projection to the next; each epoch ends with one where none was made."""
        steps = getattr(self.training.session.data, "length", None)  # where that is known
        return max(1, (steps or 1) // self.updates)

    def tried(self, structure: Structure, batches: Sequence[Batch]) -> float:
        """Keep a structure, with the weights as they are, if its calibration loss is the least.

        Returns:
            That loss; infinite where the structure is not within the caps.
        """
        training = self.training
        loss = math.inf
        if self.filters.holds(structure):
            session, small = training.session, self.filters.smaller(structure)
            loss = agreed_loss(session.fabric, small, batches, session.loss)
        best = Best.of(training.state["best"]) if "best" in training.state else Best.none()
        keep = {"keep": torch.from_numpy(structure.keep.copy())}
        weights = all_tensors(training.session.model)
        number = training.state.get("tried", -1) + 1
        training.state.update(best=best.or_better(loss, number, keep, weights).tree(), tried=number)
        return loss

    def finish(self) -> None:
        """Go back to the best structure and its weights, and remove the rest for good."""
        best = Best.of(self.training.state["best"])
        fill(self.training.session.model, dict(best.weights))
        keep = best.point["keep"].cpu().numpy().astype(bool)
        self.filters.remove(self.training, Structure(self.filters.graph, keep), "admm")


def _pull(solver: AdmmOnFilters, state: State) -> None:
    """One step on the penalty alone, which is implicit and so cannot overshoot.

    It is the v' that minimises ``rho / 2 * ||v' - z + u||_H^2 + ||v' - v||_H^2 / (2 * lr)``: a step
    as long in the metric as the optimiser's, which divides by the gradient's size. Were it measured
    without H (`compressor.phases.admm.implicit`, beside plain gradient steps), weights that the
    loss is indifferent to would not be pulled at all, u would wind up beside them, and units that
    matter to nobody would take turns in the mask to the end.
    """
    pull = solver.lr * state.rho
    for name, v in solver.weights.items():
        v.lerp_(state.z[name] - state.u[name], pull / (1 + pull))


def alive(graph: Graph, structure: Structure) -> dict[str, Tensor]:
    """For every parameter that writes units, which of its rows stay: boolean, to be broadcast."""
    found: dict[str, Tensor] = {}
    for name, (weight, dim) in writers(graph).items():
        rows = torch.from_numpy(weight.dims[dim].alive(structure.keep))
        shape = [-1 if place == dim else 1 for place in range(len(weight.dims))]
        found[name] = rows.reshape(shape)
    return found


def fisher_metric(
    session: Compression, graph: Graph, batches: Sequence[Batch], clips: int
) -> dict[str, Tensor]:
    """The mean square of the gradient, averaged over every filter, of the weights' shapes."""
    writing, named = writers(graph), dict(session.model.named_parameters())
    sums, _ = squared(gradients(session.model, batches, session.loss, clips=clips), writing)
    metric: dict[str, Tensor] = {}
    for name, (_, dim) in writing.items():
        square = sums.get(name, torch.zeros_like(named[name]).double())
        others = [place for place in range(square.ndim) if place != dim]
        row = square.mean(others, keepdim=True) if others else square
        metric[name] = row.expand_as(named[name]).to(named[name].dtype).clone()
    return metric
