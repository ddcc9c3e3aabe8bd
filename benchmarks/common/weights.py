"""Weights of trained networks, kept between runs."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save
from torch import nn

from compressor.storage import write_bytes


def keep(model: nn.Module, file: Path) -> None:
    """Write the weights of a network, all of them or nothing."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    write_bytes(file, save(tensors))


def filled(model: nn.Module, file: Path) -> nn.Module:
    """The network with weights that were kept."""
    model.load_state_dict(load_file(file))
    return model
