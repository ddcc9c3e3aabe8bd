"""Torch-Pruning: its loop in small steps until both caps are met, driven as its pages show."""

from __future__ import annotations

import torch_pruning
from torch import nn

from benchmarks.breadth.case import Inputs
from benchmarks.breadth.tools.common import Caps, HeldError, Shrunk, copied, counted, meets
from benchmarks.breadth.tools.outputs import output_layers

STEPS = 100
"""Steps from the whole network to nothing."""
HEADS = ("num_heads", "n_heads", "heads", "n_head", "nhead")
PROJECTIONS = (
    *("qkv", "to_qkv", "q", "k", "v", "to_q", "to_k", "to_v", "kv", "to_kv"),
    *("query", "key", "value", "q_proj", "k_proj", "v_proj", "wq", "wk", "wv"),
)
"""What authors call the number of heads and the layers that it divides."""


def shrink(model: nn.Module, inputs: Inputs, caps: Caps) -> Shrunk:
    """A smaller network within the caps.

    First with heads divided as its pages ask for. If that does not run, with the attention left as
    it is. A cap on parameters alone ranks all channels together, else those of each layer.
    """
    heads = divided(model)
    try:
        return _loop(copied(model, inputs), inputs, caps, attention=True)
    except HeldError:
        raise
    except Exception:
        if not heads:
            raise
        return _loop(copied(model, inputs), inputs, caps, attention=False)


def divided(model: nn.Module) -> dict[nn.Module, int]:
    """Projections of every hand-written attention, with its number of heads."""
    found: dict[nn.Module, int] = {}
    for module in model.modules():
        number = next((n for name in HEADS if isinstance(n := getattr(module, name, 0), int)), 0)
        for name, child in module.named_children():
            if number and name in PROJECTIONS and isinstance(child, nn.Linear | nn.Conv2d):
                found[child] = number
    return found


def _loop(model: nn.Module, inputs: Inputs, caps: Caps, *, attention: bool) -> Shrunk:
    heads = divided(model)
    whole = output_layers(model, inputs) + ([] if attention else list(heads))
    pruner = torch_pruning.pruner.BasePruner(
        model,
        inputs,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=caps.macs is None,
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=whole,
        num_heads=heads,
    )
    for _ in range(STEPS):
        if meets(model, inputs, caps):
            return Shrunk(model)
        pruner.step()
        _tell_widths(model, heads)
    raise HeldError(f"the caps were not met after {STEPS} steps", counted(model, inputs))


def _tell_widths(model: nn.Module, heads: dict[nn.Module, int]) -> None:
    """Set the width of a head where a module keeps it, as the pages say to."""
    for module in model.modules():
        for name, child in module.named_children():
            if child in heads and "head_dim" in vars(module) and isinstance(child, nn.Linear):
                parts = 3 if "qkv" in name else 2 if "kv" in name else 1
                module.head_dim = child.out_features // parts // heads[child]
