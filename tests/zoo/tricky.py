"""Small networks, each with one structural trap for a channel pruner.

`TRICKY` maps the trap's name to a builder without arguments. Networks have at most a few thousand
parameters, take a small `example_input_array` (a tensor, or a tuple where there are two inputs)
and are deterministic in evaluation mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .loops import LOOPS
from .recurrent import RECURRENT
from .tricky_coupling import COUPLING
from .tricky_cuts import CUTS
from .tricky_picks import PICKS
from .tricky_shapes import SHAPES
from .tricky_space import SPACE
from .tricky_statistics import STATISTICS
from .tricky_weights import WEIGHTS
from .tricky_writes import WRITES

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

TRICKY: dict[str, Callable[[], nn.Module]] = {
    **COUPLING,
    **SHAPES,
    **STATISTICS,
    **RECURRENT,
    **LOOPS,
    **PICKS,
    **WRITES,
    **WEIGHTS,
    **CUTS,
    **SPACE,
}
