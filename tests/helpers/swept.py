"""Sweeps for tests/reports/sweeps: a quick one, and one that is killed at one of its steps."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from compressor import Budget, FineTune, Prune, Sweep, sweep
from tests.helpers.tiny import Tiny, loader, tiny

STEPS = {"left": int(os.environ.get("STEPS", "1000000"))}
"""Steps until this process kills itself."""


def loss(model: nn.Module, batch: Any) -> Tensor:
    """Cross entropy, for so many steps."""
    if model.training:
        STEPS["left"] -= 1
        if STEPS["left"] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    inputs, targets = batch
    return cross_entropy(model(inputs), targets)


def narrow(model: nn.Module, budget: Budget) -> nn.Module:
    """Another pruner: a new network of the greatest width that the caps allow."""
    del model
    return Tiny(
        next(
            w
            for w in (8, 6, 4, 2)
            if sum(map(_size, Tiny(w).parameters())) <= budget.caps["params"]
        )
    )


def _size(parameter: Tensor) -> int:
    return parameter.numel()


def call(folder: Path | None, **changes: Any) -> Sweep:
    """The same call every time."""
    options: dict[str, Any] = {
        "evaluate": loader(64, seed=4), "loss": loss, "seeds": range(2), "folder": folder,
        "then": [FineTune(epochs=2, lr=1e-3)],
    }  # fmt: skip
    budgets = {"half": Budget(params="50%"), "nothing": Budget(params="1%")}
    methods = {"once": Prune(), "in steps": [Prune(steps=2, epochs=1)], "narrow": narrow}
    return sweep(tiny(), loader(64, batch=16), budgets, methods, **(options | changes))


def quick(folder: Path | None = None, **changes: Any) -> Sweep:
    """Without data and training: milliseconds."""
    options: dict[str, Any] = {
        "budgets": {"half": Budget(params="50%"), "nothing": Budget(params="1%")},
        "methods": {"Prune": Prune(), "narrow": narrow},
    }
    options |= {"evaluate": worth, "folder": folder} | changes
    return sweep(options.pop("model", tiny()), None, **options)


def worth(model: nn.Module) -> float:
    """The size of a network, for what it is worth."""
    return float(sum(p.numel() for p in model.parameters()))
