"""Inputs from a file: one array, the first dimension counting them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


def array_in(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds no numbers.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npy file of numbers") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf" or not found.ndim:
        raise ValueError(f"{path} is no .npy file of numbers: save one array, inputs first")
    return found


def tensor_in(path: Path, model: nn.Module) -> Tensor:
    """The inputs of a ``.npy`` or ``.safetensors`` file, floating-point ones of the model's type.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds no numbers, or several tensors.
    """
    stored = path.suffix == ".safetensors"
    found = _only(path) if stored else torch.from_numpy(array_in(path))
    floats = [p.dtype for p in model.parameters() if p.is_floating_point()]
    return found.to(floats[0]) if floats and found.is_floating_point() else found


def _only(path: Path) -> Tensor:
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no .safetensors file ({error})") from error
    if len(tensors) != 1:
        raise ValueError(
            f"{path} holds {len(tensors)} tensors, and inputs are one: save them alone, inputs "
            "first"
        )
    return next(iter(tensors.values()))
