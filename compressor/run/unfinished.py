"""Models that can still be compressed."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from compressor.inputs.forms import check_own_code
from compressor.inputs.models import check_model
from compressor.network import Network


def check_given(model: object) -> None:
    """Check that there is a model which can be compressed, as far as its kind says it.

    Raises:
        ValueError: If it is no model, one that torch has compiled or packed, or compressed already.
        CountError: If it has lazy parameters.
    """
    check_model(model)
    check_own_code(cast("nn.Module", model))
    check_unfinished(cast("nn.Module", model))


def check_unfinished(model: nn.Module) -> None:
    """Check that a model's weights are numbers that can still change.

    Raises:
        ValueError: If it is what `Int8` or `Half` has made.
    """
    if not isinstance(model, Network):
        return
    integers = any(t.dtype == torch.int8 for t in model.buffers())
    halves = any(p.dtype == torch.float16 and not p.requires_grad for p in model.parameters())
    if integers or halves:
        what, who = ("8-bit integers", "Int8") if integers else ("stored in 16 bits", "Half")
        raise ValueError(
            f"this network is compressed already: its weights are {what}, made by {who}(), after "
            "which nothing can change them. Compress the model that it was made from, with all "
            "phases in one schedule"
        )
