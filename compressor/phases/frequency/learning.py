"""Training with a mask on the rows of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from compressor.inputs.batches import Batch
from compressor.inputs.losses import Loss
from compressor.phases.frequency.gates import gated
from compressor.phases.frequency.masks import MASK, Learned
from compressor.phases.frequency.trace import RowGraph

if TYPE_CHECKING:
    from compressor.run.compression import Compression


@dataclass
class Learner:
    """What happens to the mask during an epoch.

    Attributes:
        by: How it is learned.
        session: Whose model is trained.
        graph: Where the model's rows end.
        state: What `by` remembers; changed in place.
        mask: The mask of the step at hand, which gets the gradient.
        steps: Steps so far.
    """

    by: Learned
    session: Compression
    graph: RowGraph
    state: dict[str, Any]
    mask: Tensor | None = None
    steps: int = 0

    def loss(self, loss: Loss) -> Loss:
        """The loss with the mask on the rows."""

        def masked(model: nn.Module, batch: Batch) -> Tensor:
            self.mask = mask = self.state[MASK].detach().clone().requires_grad_()
            factors = self.by.factors(self.state, mask)
            with gated(self.session.model, self.graph, factors):
                return loss(model, batch)

        return masked

    @property
    def lr(self) -> float:
        """The mask's learning rate, which falls with that of the weights."""
        group: Any = self.session.optimizer.param_groups[0] if self.session.optimizer else {}
        return self.by.lr * group["lr"] / group["initial_lr"]

    def step(self) -> None:
        """Move the mask, alike in all processes."""
        self.steps += 1
        gradient = None if self.mask is None else self.mask.grad
        if gradient is None:
            return
        fabric = self.session.fabric
        if fabric is not None and fabric.world_size > 1:
            gradient = cast("Tensor", fabric.all_reduce(gradient, reduce_op="mean"))
        self.by.step(self.state, gradient, self.lr)
