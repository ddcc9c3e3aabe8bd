"""Choice of the rows of an input to keep: measured at once, or learned with a mask.

Measured: a function from the gradients of `compressor.phases.frequency.gates.row_gradients` to one
score per row. Learned: settings of how a mask, one factor per row, is trained beside the weights;
its state is tensors and plain data, the mask itself under ``"mask"``.
`benchmarks/accuracy/selection.md` compares them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from compressor.inputs.settings import check_number
from compressor.phases.admm import (
    Admm,
    Projection,
    State,
    Tensors,
    cardinality,
    implicit,
    largest,
    start,
    tied,
    update,
)  # fmt: skip

RowScores = Callable[[Tensor], Tensor]
"""From gradients (micro-batches, rows) to scores (rows,), larger for rows to keep."""

MASK = "mask"


def fisher(gradients: Tensor) -> Tensor:
    """Mean of the squares: the Fisher diagonal, expected squared change when a row is removed."""
    return gradients.square().mean(0)


def taylor(gradients: Tensor) -> Tensor:
    """Mean of the magnitudes: expected first-order change when a row is removed."""
    return gradients.abs().mean(0)


@dataclass(frozen=True)
class Moment:
    """Point of a training at which a mask is updated.

    Attributes:
        lr: Learning rate of the mask now.
        steps: Steps of the optimiser from one update to the next.
        over: Share of the phase that is over.
    """

    lr: float
    steps: int
    over: float


@dataclass(frozen=True)
class Learned:
    """Training of a mask: plain gradient steps here; what is learned differs by class.

    Attributes:
        lr: Learning rate of the mask at the start; it falls with that of the weights.
    """

    lr: float = 1.0

    def __post_init__(self) -> None:
        """Check the learning rate."""
        check_number(type(self).__name__, lr=self.lr)

    def begin(self, saliency: Tensor, keep: int, steps: int) -> dict[str, Any]:
        """The state before the first step, the mask all ones, `keep` of which shall stay.

        `saliency`, the Fisher score of every row (rows,), decides where the mask ties; `steps` are
        those of the optimiser between updates.
        """
        del steps
        mask = torch.ones_like(saliency, dtype=torch.float32)
        return {MASK: mask, "saliency": saliency, "keep": keep, "over": 0.0}

    def factors(self, state: dict[str, Any], mask: Tensor) -> Tensor:
        """Factors on the rows, differentiable in `mask`, which holds the state's values."""
        del state
        return mask

    def step(self, state: dict[str, Any], gradient: Tensor, lr: float) -> None:
        """Move the mask, after a step of the optimiser."""
        state[MASK] = state[MASK] - lr * gradient

    def update(self, state: dict[str, Any], moment: Moment) -> dict[str, float]:
        """Do what there is to do after an epoch; return what to log."""
        state["over"] = moment.over
        return {}

    def chosen(self, state: dict[str, Any]) -> Tensor:
        """Rows to keep if it ended now: booleans (rows,), exactly as many as wanted."""
        return largest(state[MASK], state["keep"], saliency=state["saliency"])


@dataclass(frozen=True)
class AdmmMask(Learned):
    """ADMM: the mask is pulled to the nearest one with as many rows as wanted (eq. 1 of FAU 2022).

    Departures from the report, whose text names no rho and no metric: see `compressor.phases.admm`.
    The steps on the mask are implicit in the penalty, as the entries of the Fisher metric differ
    too much for explicit ones.

    Attributes:
        lr: Learning rate of the mask at the start.
        settings: Of the method.
        metric: True if distances are weighted by the Fisher diagonal; without, by nothing, as the
            report has it.
    """

    settings: Admm = field(default_factory=Admm)
    metric: bool = True

    def begin(self, saliency: Tensor, keep: int, steps: int) -> dict[str, Any]:
        """Warm: the first point in the set is the one-shot choice of the saliency."""
        mask = torch.ones_like(saliency, dtype=torch.float32)
        metric = {MASK: saliency} if self.metric else None
        rho = tied(self.settings.pull, self.lr, steps)
        state = start({MASK: mask}, _keeping(keep, saliency), rho=rho, metric=metric)
        return {MASK: mask, "saliency": saliency, "keep": keep, "admm": state.tree()}

    def factors(self, state: dict[str, Any], mask: Tensor) -> Tensor:
        """The mask; the nearest one in the set once ADMM has stopped."""
        now = State.of(state["admm"])
        return (now.z[MASK] != 0).to(mask.dtype) if now.stopped else mask

    def step(self, state: dict[str, Any], gradient: Tensor, lr: float) -> None:
        """Explicit in the loss, implicit in the penalty."""
        now = State.of(state["admm"])
        if not now.stopped:
            state[MASK] = implicit(now, MASK, state[MASK], gradient, lr)

    def update(self, state: dict[str, Any], moment: Moment) -> dict[str, float]:
        """Project, move the dual, adapt rho."""
        now = State.of(state["admm"])
        if now.stopped:
            return {}
        after, done = update(
            self.settings, now, {MASK: state[MASK]}, _keeping(state["keep"], state["saliency"]),
            lr=moment.lr, steps=moment.steps, over=moment.over,
        )  # fmt: skip
        state["admm"] = after.tree()
        return done.numbers()

    def chosen(self, state: dict[str, Any]) -> Tensor:
        """The support of the point in the set, filled up by saliency where that has zeros."""
        z = State.of(state["admm"]).z[MASK]
        return largest(z, state["keep"], saliency=state["saliency"])


def _keeping(count: int, saliency: Tensor) -> Projection:
    """The nearest mask of `count` rows; ties go by saliency."""

    def project(point: Tensors, metric: Tensors, rho: float) -> Tensors:
        del rho
        return {
            name: cardinality(x, count, metric=metric[name], saliency=saliency)
            for name, x in point.items()
        }

    return project
