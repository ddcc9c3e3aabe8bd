"""Torch-Pruning, the live general structural pruner, driven as its documentation shows."""

from __future__ import annotations

from collections.abc import Callable

import torch_pruning
from torch import Tensor, nn

from compressor.errors import BudgetError

STEPS = 200
"""More steps land closer to the target; with 20 it overshoots by several per cent."""


def torch_pruning_loop(
    model: nn.Module,
    fits: Callable[[nn.Module], bool],
    *,
    globally: bool,
    isomorphic: bool = False,
    steps: int = STEPS,
    example: Tensor | None = None,
) -> nn.Module:
    """Remove channels by group magnitude in small steps until the model `fits`, in place.

    `example` is an input, by default the model's own. Whether it fits is asked before every step;
    `globally` ranks all channels together, not layer by layer, and `isomorphic` those of alike
    groups (G. Fang et al., ECCV 2024), where both are asked for.
    """
    last = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    pruner = torch_pruning.pruner.BasePruner(
        model,
        model.example_input_array if example is None else example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        global_pruning=globally,
        isomorphic=isomorphic,
        pruning_ratio=1.0,
        iterative_steps=steps,
        ignored_layers=[last],
    )
    for _ in range(steps):
        if fits(model):
            return model
        pruner.step()
    raise BudgetError(f"Torch-Pruning did not meet the budget in {steps} steps")
