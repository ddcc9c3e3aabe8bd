"""A loss that stops a run in the middle, as if somebody had pulled the plug."""

from __future__ import annotations

from torch import Tensor, nn

from compressor.inputs.batches import Batch
from compressor.inputs.losses import cross_entropy


class Stop(Exception):  # noqa: N818 - no error: somebody pulled the plug
    pass


class Pulled:
    """Cross entropy that stops the run at its n-th call; None for never."""

    def __init__(self, after: int | None) -> None:
        self.left = after

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Stop
        return cross_entropy(model, batch)
