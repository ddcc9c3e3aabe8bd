"""Forms of a model in which nothing can be cut: compiled, spread, scripted, observed, packed.

Each of them was made of a model that can be cut, and can be made again of the smaller one. So that
is what to pass, and in a sentence each it is said where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.ao.quantization.fake_quantize import FakeQuantizeBase
from torch.ao.quantization.observer import ObserverBase
from torch.nn.parallel import DistributedDataParallel


def check_own_code(model: nn.Module) -> None:
    """Check that a model runs Python of its own on weights that can be cut.

    Raises:
        ValueError: If it is compiled, spread over processes, scripted or traced, observed for a
            quantisation, its weights are packed, or it has no forward pass.
    """
    check_counted(model)
    compiled = dict(model.named_children()).get("_orig_mod")
    if compiled is not None and type(model).forward is nn.Module.forward:
        raise ValueError(
            f"the model is {type(model).__name__}, made by torch.compile of a "
            f"{type(compiled).__name__}: pass that, model._orig_mod, and compile what comes out"
        )
    if type(model).forward is nn.Module.forward:
        raise ValueError(
            f"the model is a {type(model).__name__}, which has no forward(): pass one that runs "
            "its layers, such as torch.nn.Sequential(*layers)"
        )
    watched = _first(model, lambda module: isinstance(module, ObserverBase | FakeQuantizeBase))
    if watched is not None:
        raise ValueError(
            f"{_named(model, *watched)}, put there by torch.ao.quantization to watch or round "
            "what passes: pass the model as it was before prepare(), and Int8() in the schedule, "
            "or prepare what comes out"
        )


def check_counted(model: nn.Module) -> None:
    """Check that all weights of a model are parameters and buffers, so that they can be counted.

    Raises:
        ValueError: If it is spread over processes, scripted or traced, or its weights are packed.
    """
    spread = _first(model, lambda module: isinstance(module, DistributedDataParallel))
    if spread is not None:
        path, _ = spread
        inside = f"model.{path}.module" if path else "model.module"
        raise ValueError(
            f"{_named(model, *spread)}, which works with other processes on gradients of these "
            f"very weights: pass the model without it ({inside} is what it holds), and wrap what "
            "comes out"
        )
    scripted = _first(model, lambda module: isinstance(module, torch.jit.ScriptModule))
    if scripted is not None:
        path, _ = scripted
        before = "the model with that layer" if path else "the model"
        raise ValueError(
            f"{_named(model, *scripted)}, made by torch.jit, whose layers cannot be cut: pass "
            f"{before} as it was before torch.jit.script or torch.jit.trace, and script what comes "
            "out"
        )
    packed = _first(
        model,
        lambda module: any(isinstance(x, torch.ScriptObject) for x in vars(module).values()),
    )
    if packed is not None:
        raise ValueError(
            f"{_named(model, *packed)}, quantised already, with weights that PyTorch has packed "
            "and nothing can cut: pass the network in floating point, and Int8() in the schedule"
        )


def _first(model: nn.Module, is_one: Callable[[nn.Module], bool]) -> tuple[str, nn.Module] | None:
    """The path of the first module of a kind, and the module."""
    found: Iterator[tuple[str, nn.Module]] = (
        (path, module) for path, module in model.named_modules() if is_one(module)
    )
    return next(found, None)


def _named(model: nn.Module, path: str, module: nn.Module) -> str:
    kind = type(module).__name__
    if not path:
        return f"the model is a {kind}"
    return f"the layer {path!r} of the {type(model).__name__} is a {kind}"
