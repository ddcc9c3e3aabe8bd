"""torch-kirigami: its budget of parameters, tightened until the multiply-accumulates fit too."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch_kirigami.errors import KirigamiError, UnsupportedOperation
from torch_kirigami.pruning import PlanningError

from benchmarks.breadth.case import Inputs
from benchmarks.breadth.tools.common import (
    Caps,
    HeldError,
    RefusedError,
    Shrunk,
    copied,
    counted,
)
from benchmarks.common.kirigami import OverError, within_caps


def shrink(model: nn.Module, inputs: Inputs, caps: Caps) -> Shrunk:
    """A smaller network within the caps."""
    fresh = partial(copied, model, inputs)
    try:
        return Shrunk(
            within_caps(fresh, inputs, caps.params, caps.macs, partial(counted, inputs=inputs))
        )
    except OverError as error:
        raise HeldError(str(error), error.cost) from error
    except PlanningError as error:
        if "target not reached" in str(error):
            raise HeldError(str(error)) from error
        raise RefusedError(str(error)) from error
    except (KirigamiError, UnsupportedOperation) as error:
        raise RefusedError(f"{type(error).__name__}: {error}") from error
