"""What a repair was given: the weights as they were cut, until something else changes them.

A repaired network lies at a minimum of every layer's own least squares, which a few steps of
training at any rate leave before they find a better one: on networks that overfit, no rate lowers
the loss in 16 steps. What a whole fine-tune asks for shows on the network as it was cut. So rates
are tried on that (`compressor.run.rate_range`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressor.storage import numbers


@dataclass(frozen=True)
class Unrepaired:
    """Parameters before a repair.

    Attributes:
        before: As they were cut, by name.
        after: Digest of them as the repair left them.
    """

    before: Mapping[str, Tensor]
    after: str

    @classmethod
    def of(cls, before: Mapping[str, Tensor], model: nn.Module) -> Unrepaired:
        """The parameters before a repair that left the model as it is."""
        return cls(before, _digest(model))

    def put_into(self, twin: nn.Module) -> None:
        """Make a copy of the model what it was before the repair, if that was the last word."""
        if _digest(twin) != self.after:
            return
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                parameter.copy_(self.before[name])


def parameters(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's parameters by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _digest(model: nn.Module) -> str:
    return numbers(dict(model.named_parameters()))
