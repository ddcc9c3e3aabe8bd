"""Training with a mask on the rows of the input: what it has come to, and what a step does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from compressor.inputs.batches import Batch
from compressor.inputs.losses import Loss
from compressor.phases.admm import Best
from compressor.phases.frequency.gates import gated
from compressor.phases.frequency.masks import MASK, Learned
from compressor.phases.frequency.trace import RowGraph

if TYPE_CHECKING:
    from compressor.run.compression import Compression


@dataclass(frozen=True)
class Search:
    """State of the search for a mask, after an epoch.

    Attributes:
        best: The best mask so far, with the weights it was found with.
        chosen: The rows that the mask of this epoch keeps.
        still: Number of epochs for which these have been the same.
        memory: What the settings of the mask remember, the mask itself among it.
    """

    best: Best
    chosen: Tensor
    still: int
    memory: dict[str, Any]

    def tree(self) -> dict[str, Any]:
        """As a tree of tensors and plain data."""
        now = {"best": self.best.tree(), "chosen": self.chosen, "still": self.still}
        return self.memory | now

    @staticmethod
    def of(tree: Mapping[str, Any]) -> Search | None:
        """Read back what a tree was made of; None where there is no search in it."""
        if "best" not in tree:
            return None
        own = {field.name for field in fields(Search)}
        memory = {key: value for key, value in tree.items() if key not in own}
        return Search(Best.of(tree["best"]), tree["chosen"], tree["still"], memory)

    def then(self, best: Best, chosen: Tensor) -> Search:
        """State of the search after one epoch more."""
        same = bool((self.chosen == chosen).all())
        return Search(best, chosen, self.still + 1 if same else 0, self.memory)


@dataclass
class Learner:
    """Training of the mask during an epoch.

    Attributes:
        by: Way to learn it.
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
        return self.by.lr * group["lr"] / group.get("initial_lr", group["lr"])

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
