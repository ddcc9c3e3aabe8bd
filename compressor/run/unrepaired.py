"""The weights as they were cut: what a repair was given, until something else changes them.

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
    """Parameters as they were cut.

    Attributes:
        before: What they were before a repair, by name; empty where there was none.
        after: Digest of them as the cut, or the repair, left them.
    """

    before: Mapping[str, Tensor]
    after: str

    @classmethod
    def of(cls, before: Mapping[str, Tensor], model: nn.Module) -> Unrepaired:
        """The parameters before a repair that left the model as it is, or none without one."""
        return cls(before, _digest(model))

    def put_into(self, twin: nn.Module) -> bool:
        """Make a copy of the model what was cut, if nothing has trained it since; tell whether."""
        if _digest(twin) != self.after:
            return False
        own = dict(twin.named_parameters())
        with torch.no_grad():
            for name, before in self.before.items():
                own[name].copy_(before)
        return True


def parameters(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's parameters by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _digest(model: nn.Module) -> str:
    return numbers(dict(model.named_parameters()))
