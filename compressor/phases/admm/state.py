"""The memory of a solver: its state and its best point, as tensors and plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compressor.phases.admm.projections import Tensors


@dataclass(frozen=True)
class State:
    """The state after an update.

    Attributes:
        z: The point in the set, by name.
        u: The scaled dual; ``rho * metric * u`` is the dual variable itself.
        metric: H, positive weights of the shapes of z.
        rho: Penalty parameter.
        scale: Factor on rho by residual balancing: ``rho = scale * pull / (lr * steps)``.
        updates: Number of updates so far.
        still: For how many updates in a row no entry came or went.
        stopped: True if the stop rule was met.
    """

    z: Tensors
    u: Tensors
    metric: Tensors
    rho: float
    scale: float = 1.0
    updates: int = 0
    still: int = 0
    stopped: bool = False

    def tree(self) -> dict[str, Any]:
        """As a tree of tensors and plain data (`compressor.storage.flatten` takes it)."""
        tensors = {name: dict(vars(self)[name]) for name in ("z", "u", "metric")}
        return vars(self) | tensors

    @staticmethod
    def of(tree: Mapping[str, Any]) -> State:
        """The state that a tree was made of."""
        return State(**tree)


@dataclass(frozen=True)
class Update:
    """Record of one update, to be logged.

    Attributes:
        primal: ``||v - z|| / max(||v||, ||z||)`` in the metric.
        dual: ``||z - z before|| / ||u||`` in the metric, that is the dual residual over the dual
            variable (B. Wohlberg, arXiv:1704.06209, section 3.1).
        flips: Entries that came into the support or left it.
        rho: Penalty parameter from here on.
    """

    primal: float
    dual: float
    flips: int
    rho: float

    def numbers(self) -> dict[str, float]:
        """By name, as a log takes them."""
        return {name: float(value) for name, value in vars(self).items()}


def norm(values: Tensors, metric: Tensors) -> float:
    """``sqrt(sum of H * x^2)`` over all tensors."""
    parts = [(metric[n].double() * x.detach().double().square()).sum() for n, x in values.items()]
    return math.sqrt(float(torch.stack([p.cpu() for p in parts]).sum())) if parts else 0.0


def difference(left: Tensors, right: Tensors) -> dict[str, Tensor]:
    """``left - right``, by name."""
    return {name: left[name].detach() - right[name] for name in right}


def ratio(part: float, whole: float) -> float:
    """``part / whole``; 0 of nothing is 0, something of nothing infinite."""
    if whole > 0:
        return part / whole
    return math.inf if part > 0 else 0.0


def flips(before: Tensors, after: Tensors) -> int:
    """Count the entries that changed between zero and not zero."""
    changed = (((before[n] == 0) != (after[n] == 0)).sum() for n in after)
    return sum(int(count) for count in changed)


def copied(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Detached copies, which no optimiser moves."""
    return {name: tensor.detach().clone() for name, tensor in values.items()}


@dataclass(frozen=True)
class Best:
    """A feasible point, the weights it was found with, and their calibration loss.

    The weights belong to it: a loss compares only with one that was measured with what will be
    returned, and the loss of a mask under weights trained for another says little.

    Attributes:
        loss: Calibration loss; infinite where there is no point yet.
        update: After how many updates it was found; 0 is the start, the one-shot answer.
        point: What makes it feasible (a mask, say), by name.
        weights: Every tensor that had been trained by then, by name.
    """

    loss: float
    update: int
    point: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]

    @staticmethod
    def none() -> Best:
        """Nothing yet."""
        return Best(math.inf, 0, {}, {})

    def or_better(
        self, loss: float, update: int, point: Mapping[str, Tensor], weights: Mapping[str, Tensor]
    ) -> Best:
        """The better of the two, with copies of its tensors; the earlier if they are alike."""
        if self.point and not loss < self.loss:
            return self
        return Best(loss, update, copied(point), copied(weights))

    def tree(self) -> dict[str, Any]:
        """As a tree of tensors and plain data."""
        loss = self.loss if math.isfinite(self.loss) else None  # JSON has no infinity
        return vars(self) | {
            "loss": loss, "point": dict(self.point), "weights": dict(self.weights),
        }  # fmt: skip

    @staticmethod
    def of(tree: Mapping[str, Any]) -> Best:
        """Read back what a tree was made of."""
        loss = math.inf if tree["loss"] is None else tree["loss"]
        return Best(loss, tree["update"], tree["point"], tree["weights"])
