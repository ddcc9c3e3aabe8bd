"""`compressor.fit` without data."""

from __future__ import annotations

from torch import nn

from benchmarks.breadth.case import Inputs
from benchmarks.breadth.tools.common import Caps, HeldError, RefusedError, Shrunk
from compressor import Budget, BudgetError, CountError, TraceError, fit


def shrink(model: nn.Module, inputs: Inputs, caps: Caps) -> Shrunk:
    """A smaller network within the caps."""
    budget = Budget(params=caps.params, macs=caps.macs)
    try:
        result = fit(model, budget=budget, example=inputs, progress=False)
    except BudgetError as error:
        raise HeldError(str(error)) from error
    except (TraceError, CountError, ValueError) as error:
        raise RefusedError(str(error)) from error
    whole = {n: why for n, why in result.report.frozen.items() if "network's output" not in why}
    return Shrunk(result.model, whole)
