"""ADMM and iterative hard thresholding: training on the way to a structure, then its removal.

Both train the whole network and project onto the budget every few steps, by the same projection:
the structure within the caps that keeps the most of ``sum of H * x^2`` over the weights that write
a unit (its filter, bias, and the scale and shift of its normalisation), H being the Fisher diagonal
averaged over every filter, or 1.

* `admm`: x = v + u, and after every step of the optimiser all weights are pulled by the same share
  of the way to the projection (`compressor.phases.admm`). What is out comes back by what the loss
  moves it between two projections against the pull, about ``lr * steps / pull``: after few or small
  steps the mask is still that of the first projection, the nearest one to the weights as they came.
  While the projection follows the training of what is in, residual balancing loosens the pull; then
  more comes and goes, and it settles as the learning rate falls, or not at all in a run that is
  short.
* `iht`: the network runs with the projection's units off while all weights are kept and trained,
  those that are off by the gradient that they would have if they were on. Off means that the scale
  and shift of the normalisation are a thousandth of what they are, or the filter itself where there
  is none: behind a normalisation a filter's size says nothing, and one that is zero grows back to
  full strength in one step; and behind a ReLU what is exactly zero has no gradient at all. This is
  the form with dense feedback (Lin et al. 2020, arXiv:2006.07253), which can take a choice back;
  the seed of the field is Blumensath and Davies 2009 (arXiv:0805.0510).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from compressor.graph.structure import Structure
from compressor.inputs.batches import Batch
from compressor.inputs.tensors import all_tensors, fill
from compressor.phases.admm import Admm, Best, State, start, tied, update
from compressor.phases.admm.state import copied
from compressor.phases.filters.energy import Tensors, alive, normalised, writers
from compressor.phases.filters.targets import Target
from compressor.run.widths import agreed_loss

if TYPE_CHECKING:
    from compressor.run.training import Training


OFF = 1e-3
"""What is left of a unit that iterative hard thresholding has switched off."""


@dataclass(frozen=True)
class Walk:
    """What both strategies have at hand in one part.

    Attributes:
        training: The run.
        target: What is removed.
        admm: Settings of the duals and of rho.
        updates: Projections an epoch.
    """

    training: Training
    target: Target
    admm: Admm
    updates: int

    @property
    def weights(self) -> dict[str, Tensor]:
        """The parameters that write units, as they are now."""
        named = dict(self.training.session.model.named_parameters())
        return {name: named[name].detach() for name in writers(self.target.graph)}

    def project(self, point: Tensors, metric: Tensors, rho: float) -> dict[str, Tensor]:  # noqa: ARG002
        """The nearest point within the caps: a `compressor.phases.admm.Projection`."""
        stays = alive(self.target.graph, self.nearest(point, metric))
        return {n: torch.where(stays[n].to(p.device), p, 0.0) for n, p in point.items()}

    def nearest(self, point: Tensors, metric: Tensors) -> Structure:
        """The structure of the nearest point within the caps."""
        return self.target.nearest({n: metric[n].sqrt() * p for n, p in point.items()})

    @property
    def lr(self) -> float:
        """The learning rate of the step at hand."""
        optimizer = self.training.session.optimizer
        return 0.0 if optimizer is None else float(optimizer.param_groups[0]["lr"])

    @property
    def steps(self) -> int | None:
        """Batches an epoch, where that is known."""
        return getattr(self.training.session.data, "length", None)

    @property
    def every(self) -> int:
        """Steps from one projection to the next; each epoch ends with one where none was made."""
        return max(1, (self.steps or 1) // self.updates)

    def tried(self, structure: Structure, batches: Sequence[Batch]) -> float:
        """Keep a structure, with the weights as they are, if its calibration loss is the least.

        Returns:
            That loss; infinite where the structure is not within the caps.
        """
        training = self.training
        loss = math.inf
        if self.target.holds(structure):
            session = training.session
            small = self.target.smaller(structure)
            loss = agreed_loss(session.fabric, small, batches, session.loss)
        best = Best.of(training.state["best"]) if "best" in training.state else Best.none()
        keep = {"keep": torch.from_numpy(structure.keep.copy())}
        weights = all_tensors(training.session.model)
        number = training.state.get("tried", -1) + 1
        training.state.update(best=best.or_better(loss, number, keep, weights).tree(), tried=number)
        return loss

    def finish(self, name: str) -> None:
        """Go back to the best structure and its weights, and remove the rest for good."""
        best = Best.of(self.training.state["best"])
        fill(self.training.session.model, dict(best.weights))
        keep = best.point["keep"].cpu().numpy().astype(bool)
        self.target.remove(self.training, Structure(self.target.graph, keep), name)


class Strategy(Protocol):
    """Training on the way to a structure."""

    def begin(self, walk: Walk, metric: Tensors | None, lr: float) -> None:
        """Write the first state into `Training.state`."""
        ...

    def epoch(self, walk: Walk, over: float) -> Callable[[], None]:
        """What is done after every step of an epoch."""
        ...

    def structure(self, walk: Walk) -> Structure:
        """Where it has got to."""
        ...


class PullToStructure:
    """ADMM: the weights are pulled to their projection, with duals."""

    def begin(self, walk: Walk, metric: Tensors | None, lr: float) -> None:
        """Project the weights; the duals are zero."""
        rho = tied(walk.admm.pull, lr, walk.every)
        state = start(walk.weights, walk.project, rho=rho, metric=metric)
        walk.training.state["admm"] = state.tree()

    def epoch(self, walk: Walk, over: float) -> Callable[[], None]:
        """A pull after every step, and now and then a projection."""
        training = walk.training
        done = 0

        def after() -> None:
            nonlocal done
            done += 1
            state = State.of(training.state["admm"])
            _pull(walk, state)
            if done % walk.every == 0 and not state.stopped:
                state, what = update(
                    walk.admm, state, walk.weights, walk.project,
                    lr=walk.lr, steps=walk.every, over=over,
                )  # fmt: skip
                training.state["admm"] = state.tree()
                training.logged(**what.numbers())

        return after

    def structure(self, walk: Walk) -> Structure:
        """That of v + u."""
        state = State.of(walk.training.state["admm"])
        point = {name: v + state.u[name] for name, v in walk.weights.items()}
        return walk.nearest(point, state.metric)


def _pull(walk: Walk, state: State) -> None:
    """One step on the penalty alone, which is implicit and so cannot overshoot.

    It is the v' that minimises ``rho / 2 * ||v' - z + u||_H^2 + ||v' - v||_H^2 / (2 * lr)``: a step
    as long in the metric as the optimiser's, which divides by the gradient's size. Were it measured
    without H (`compressor.phases.admm.implicit`, beside plain gradient steps), weights that the
    loss is indifferent to would not be pulled at all, u would wind up beside them, and units that
    matter to nobody would take turns in the mask to the end.
    """
    pull = walk.lr * state.rho
    for name, v in walk.weights.items():
        v.lerp_(state.z[name] - state.u[name], pull / (1 + pull))


class SwitchOff:
    """Iterative hard thresholding: what the projection leaves out is off, and trained on."""

    def begin(self, walk: Walk, metric: Tensors | None, lr: float) -> None:  # noqa: ARG002
        """All weights are kept beside the model, which runs with the projection's units off."""
        weights = walk.weights
        found = metric or {name: torch.ones_like(w) for name, w in weights.items()}
        structure = walk.nearest(weights, found)
        walk.training.state["iht"] = {
            "all": copied(weights),
            "metric": dict(found),
            "keep": torch.from_numpy(structure.keep.copy()),
            "normalised": sorted(normalised(walk.training.session)),
        }
        self._show(walk)

    def epoch(self, walk: Walk, over: float) -> Callable[[], None]:  # noqa: ARG002 - a Strategy
        """Carry every step over to all weights; now and then a projection."""
        state = walk.training.state["iht"]
        shown = copied(walk.weights)
        done = 0

        def after() -> None:
            nonlocal done, shown
            done += 1
            for name, w in walk.weights.items():
                state["all"][name] += w - shown[name]
            if done % walk.every == 0:
                before = state["keep"]
                structure = walk.nearest(state["all"], state["metric"])
                state["keep"] = torch.from_numpy(structure.keep.copy())
                walk.training.logged(flips=float((state["keep"] != before).sum()))
            self._show(walk)
            shown = copied(walk.weights)

        return after

    def structure(self, walk: Walk) -> Structure:
        """What is on."""
        keep = walk.training.state["iht"]["keep"].cpu().numpy().astype(bool)
        return Structure(walk.target.graph, keep)

    def _show(self, walk: Walk) -> None:
        """Let the model run with what is on."""
        state = walk.training.state["iht"]
        stays = alive(walk.target.graph, self.structure(walk))
        for name, w in walk.weights.items():
            full = state["all"][name]
            on = stays[name].to(w.device)
            w.copy_(full if name in state["normalised"] else torch.where(on, full, OFF * full))
