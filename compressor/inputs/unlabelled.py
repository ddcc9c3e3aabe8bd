"""Batches of inputs alone, without targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from compressor.inputs.batches import Batch, call, tensors


@dataclass(frozen=True)
class Unlabelled:
    """A loss of inputs alone: outputs along a direction that is drawn once.

    A batch is a tensor (batch, ...) or a tuple or list of several, the model's positional inputs.
    The mean square of its gradients is how much outputs change with a weight (in expectation over
    the direction: the diagonal of J^T J, with J the Jacobian of the outputs; Martens 2020,
    arXiv:1412.1193, section 8), so that `compressor.importance.fisher` ranks units by what they do
    to outputs. Its value says nothing: nothing can be trained by it.

    Attributes:
        seed: Draws the direction.
    """

    seed: int = 0

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The outputs of a batch along the direction, mean over examples."""
        parts: list[Tensor] = []
        draws = torch.Generator().manual_seed(self.seed)
        for output in tensors(call(model, batch)):
            if output.is_floating_point() and output.ndim:
                signs = torch.randint(2, output.shape[1:], generator=draws).to(output) * 2 - 1
                parts.append((output * signs).flatten(1).sum(1) if output.ndim > 1 else output)
        if not parts:
            raise ValueError(
                f"the {type(model).__name__} returns no tensor of floating-point numbers, so that "
                "nothing can be compared: pass batches with targets and loss="
            )
        return torch.stack([part.mean() for part in parts]).sum()


def is_unlabelled(batch: Batch) -> bool:
    """True if a batch is a tensor, or one in a tuple or list."""
    if isinstance(batch, (tuple, list)):
        items = list(cast("list[Any]", batch))
        return len(items) == 1 and isinstance(items[0], Tensor)
    return isinstance(batch, Tensor)


def check_alike(source: object) -> None:
    """Check that tensors in a list are batches of inputs alone, and not one of inputs and labels.

    Raises:
        ValueError: If they differ in dimensions or type.
    """
    if not isinstance(source, (list, tuple)):
        return
    found = [x for x in cast("list[object]", source) if isinstance(x, Tensor)]
    other = next((x for x in found if (x.ndim, x.dtype) != (found[0].ndim, found[0].dtype)), None)
    if other is not None:
        raise ValueError(
            f"data is a {type(source).__name__} that holds a tensor {tuple(found[0].shape)} "
            f"{found[0].dtype} and one {tuple(other.shape)} {other.dtype}, each of them a batch: "
            "inputs and targets go in as a DataLoader of a TensorDataset(inputs, targets), or as a "
            "list of pairs, [(inputs, targets)]"
        )
