"""The tensors of a model, those outside its state dict included: read, checked and written."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from compressor.wording import first_few


def all_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Every distinct parameter and buffer by name, those outside the state dict included."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def fill(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy values into a model's parameters and buffers."""
    with torch.no_grad():
        for name, tensor in all_tensors(model).items():
            tensor.copy_(values[name])


def check_tensors(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Check that tensors are those of a model: copying would spread a smaller one without a word.

    Raises:
        ValueError: If they are not.
    """
    own = {name: (t.shape, t.dtype) for name, t in all_tensors(model).items()}
    found = {name: (t.shape, t.dtype) for name, t in values.items()}
    if own != found:
        wrong = [name for name in own | found if own.get(name) != found.get(name)]
        named = ", ".join(first_few(wrong, "more"))
        raise ValueError(f"{named}: other tensors than the model's")
