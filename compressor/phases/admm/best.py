"""The best feasible point so far: why a solver never returns worse than its own start."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from compressor.phases.admm.state import copied


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
        """The better of the two, with copies of its tensors; the earlier one when they are alike.

        Args:
            loss: Calibration loss of the new point.
            update: After how many updates.
            point: What makes it feasible.
            weights: What it was measured with.
        """
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
        """What a tree was made of."""
        loss = math.inf if tree["loss"] is None else tree["loss"]
        return Best(loss, tree["update"], tree["point"], tree["weights"])
