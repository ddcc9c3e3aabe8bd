"""The state of a model as tensors and plain data, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compressor import storage
from compressor.inputs.tensors import all_tensors, first_names

EXTRA = "_extra_state"
"""Last part of the name under which torch keeps what a module's `get_extra_state` returns."""


def stored(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model's state dict, every tied one once, under its first name."""
    first = first_names(model)
    state = model.state_dict().items()
    plain = {name: value for name, value in state if name.rpartition(".")[2] != EXTRA}
    return {name: value for name, value in plain.items() if first.get(name, name) == name}


def extras(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Extra state by module as plain data, its tensors moved into `tensors`."""
    found: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        module, _, last = name.rpartition(".")
        if last == EXTRA:
            inside = dict[str, Tensor]()
            try:
                found[module] = storage.flatten(value, inside, f"{EXTRA}/{module}")
            except TypeError as error:
                warnings.warn(
                    f"the extra state of {module or type(model).__name__!r} is not saved, as it "
                    f"is no plain data ({error}): have its get_extra_state return tensors, "
                    "numbers, strings, lists and dictionaries of them",
                    stacklevel=3,
                )
            else:
                tensors |= {key: tensor.clone() for key, tensor in inside.items()}
    return found


def buffer_types(model: nn.Module) -> dict[str, str]:
    """Data types of the floating-point buffers that no state dict holds."""
    state = model.state_dict()
    return {
        name: str(buffer.dtype).removeprefix("torch.")
        for name, buffer in model.named_buffers()
        if name not in state and buffer.is_floating_point()
    }


def dtype_of(name: str) -> torch.dtype:
    """The data type of a name; a ValueError if torch has none."""
    found: object = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"a saved buffer's data type is {name!r}, which torch does not know")
    return found


def assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give tensors the values and data types of others of the same names and shapes, in place.

    Raises:
        ValueError: If a name or a shape does not match.
    """
    own = all_tensors(model)
    for name, tensor in tensors.items():
        target = own.get(name)
        if target is None or target.shape != tensor.shape:
            found = "nothing" if target is None else tuple(target.shape)
            raise ValueError(f"saved {name} {tuple(tensor.shape)} meets {found} in the model")
        target.data = tensor.to(target.device)
