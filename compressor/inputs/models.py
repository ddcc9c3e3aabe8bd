"""Things given in the place of a model, and a shape to try where there is no input."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from keyword import iskeyword
from typing import Any, cast

import numpy as np
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.modules.conv import _ConvNd  # of all convolutions, transposed or not
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset

from compressor.errors import CountError
from compressor.inputs.amounts import Caps
from compressor.wording import brief, kind


def check_model(model: object) -> None:
    """Check that there is a model, of known sizes.

    Raises:
        ValueError: If it is no instance of `nn.Module`.
        CountError: If it has lazy parameters.
    """
    if isinstance(model, type):
        raise ValueError(
            f"a model is needed, and {model.__name__} is a class: build one first, "
            f"{model.__name__}(...)"
        )
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"a model is needed, an instance of torch.nn.Module, and {_named(model)}"
            f"{next(advice for kinds, advice in _REMEDIES if isinstance(model, kinds))}"
        )
    lazy = [name for name, parameter in model.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise CountError(
            f"the size of {lazy[0]!r} is not known yet: it belongs to a lazy module. Run the model "
            "once before measuring it, model(inputs)."
        )


def suggested(model: nn.Module) -> str:
    """An example input to adapt, as code, by the first layer of a model that says its width."""
    for name, module in model.named_modules():
        made = _zeros(module)
        if made:
            where = f"the first layer, {name or 'itself'!r}, is a {type(module).__name__}"
            return f"example={made} ({where}; write your own sizes for what follows the channels)"
    return "example=torch.zeros(1, 3, 32, 32), with the sizes of one of your inputs"


def as_example(given: object, model: nn.Module) -> str:
    """Advice on making an example of something that is none; empty where nothing is known."""
    items = cast("list[object]", given) if isinstance(given, (tuple, list)) else []
    if items and all(isinstance(n, int) for n in items):
        return f": for zeros of that shape pass torch.zeros({', '.join(map(str, items))})"
    if items and isinstance(given, list) and all(isinstance(x, Tensor) for x in items):
        return ": pass tuple(inputs), or the first of them for a single input"
    if isinstance(given, np.ndarray):
        return ": pass torch.from_numpy(array)"
    if isinstance(given, DataLoader):
        return ": pass the inputs of a batch, next(iter(loader))[0]"
    if isinstance(given, Mapping):
        return _of_mapping([str(key) for key in cast("Mapping[object, object]", given)], model)
    return ""


def _of_mapping(keys: list[str], model: nn.Module) -> str:
    """Advice on a dictionary: its values one by one, or a wrapper where forward takes it whole."""
    if not _takes_one(model):
        return ": pass its values in the order of forward's arguments, tuple(batch.values())"
    names = [
        key if key.isidentifier() and not iskeyword(key) else f"x{n}" for n, key in enumerate(keys)
    ]
    made = ", ".join(f"{key!r}: {name}" for key, name in zip(keys, names, strict=True))
    return (
        f": forward of the {type(model).__name__} takes one argument. If that is the dictionary, "
        f"wrap the model in a module with def forward(self, {', '.join(names)}): return "
        f"self.net({{{made}}}), pass that one, and tuple(batch.values()) as its example "
        "(docs/questions.md)"
    )


def _takes_one(model: nn.Module) -> bool:
    """True if forward takes one argument that has no default, and no number of others."""
    taken = list(inspect.signature(model.forward).parameters.values())
    needed = [p for p in taken if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return len(needed) == 1 and needed[0].kind is not needed[0].VAR_POSITIONAL


def _zeros(module: nn.Module) -> str:
    """Zeros for one layer, as code; empty where it does not say what it takes."""
    shape: str = ""
    if isinstance(module, _ConvNd):
        inside = {1: "1000", 2: "32, 32", 3: "8, 32, 32"}[len(module.kernel_size)]
        shape = f"{module.in_channels}, {inside}"
    elif isinstance(module, nn.Linear):
        shape = f"{module.in_features}"
    elif isinstance(module, nn.RNNBase):
        shape = f"100, {module.input_size}"
    elif isinstance(module, nn.Embedding):
        shape = "16, dtype=torch.long"
    return f"torch.zeros(1, {shape})" if shape else ""


def _named(value: object) -> str:
    if isinstance(value, (str, int, float)):
        return f"{brief(value)} is a {type(value).__name__}"
    return f"this is {kind(value) if value is not None else 'None'}"


_PATH = ": a path. Build the model and load its weights, or compressor.load(path)"
_REMEDIES: tuple[tuple[Any, str], ...] = (
    ((str, os.PathLike), f"{_PATH} for a file of Result.write"),
    (Mapping, ": if it is a state dict, build the model and call model.load_state_dict with it"),
    (ExportedProgram, ": pass the module that it was exported from, and export what comes out"),
    ((Caps, DataLoader, Dataset, Tensor), ": the order is fit(model, loader, budget=...)"),
    (Callable, ": if it builds a model, call it; if it is one, make it a torch.nn.Module"),
    (object, ": pass the model itself, result.model of a Result, models[0] of a list"),
)
"""Advice on things that are no model, by their class."""
