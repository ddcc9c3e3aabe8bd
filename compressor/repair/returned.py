"""What a network returns, and how far two of them are apart in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from compressor.inputs import randomness
from compressor.inputs.batches import Batch, tensors
from compressor.inputs.evaluation import evaluating
from compressor.repair.layers import Forward


def outputs(model: nn.Module, batch: Batch, forward: Forward) -> list[Tensor]:
    """Every floating-point tensor that the model returns while `forward` calls it, in eval mode."""
    found: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: object) -> None:
        found.extend(t for t in tensors(output) if t.is_floating_point() and t.ndim)

    hook = model.register_forward_hook(keep)
    try:
        with torch.no_grad(), evaluating(model), randomness.preserved():
            forward(model, batch)
    finally:
        hook.remove()
    return found


def apart(pairs: Iterable[tuple[Sequence[Tensor], Sequence[Tensor]]]) -> float:
    """Squared difference of outputs, in parts of how they vary from example to example.

    Args:
        pairs: By batch, the outputs of a network and those of the dense one, (batch, ...) each.

    Returns:
        0 for equal outputs, about 1 for those of a network that has learned nothing but their mean;
        infinity where one is not finite, they do not compare, or there are none.
    """
    difference = spread = 0.0
    compared = False
    for mine, wanted in pairs:
        if [x.shape for x in mine] != [x.shape for x in wanted]:
            return math.inf
        for one, other in zip(mine, wanted, strict=True):
            compared = True
            # A class that is ruled out is -inf for every example, and no distance.
            said = other.isfinite()
            gap = torch.where(said, one.double() - other.double(), 0.0)
            difference += float(gap.square().sum())
            whole = torch.where(said, other.double(), 0.0)
            middle = whole.mean(0, keepdim=True) if len(other) > 1 else 0.0
            spread += float((whole - middle).square().sum())
    # Where all examples say the same, any difference is all the difference there is.
    found = difference / spread if spread else difference
    return found if compared and math.isfinite(found) else math.inf
