"""Choice among several allocations: a loss measured on data decides, before any training.

On real audio one width factor (`uniform`) is hard to beat where a whole network hangs on few
trunks, and far from the best where inner layers are free. Which of the two a network is shows in
the loss after pruning with new BatchNorm statistics (`benchmarks/accuracy/objectives.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from compressor.allocation import DEFAULT, Allocation, Method, Objective
from compressor.allocation.objective import Additive, LogRetention, Mix, PowerMean
from compressor.graph.structure import Structure
from compressor.importance import Importance, fisher, residual


@dataclass(frozen=True)
class Candidate:
    """A way to choose widths.

    Attributes:
        method: See `compressor.allocate`.
        objective: What it maximises; ``"uniform"`` fills what is left by it.
        importance: Scores of units.
    """

    method: str | Method = "dual"
    objective: Objective = DEFAULT
    importance: Importance = fisher


WAYS = (
    Candidate("uniform", LogRetention()),
    Candidate(objective=PowerMean(1)),
    Candidate(objective=LogRetention()),
    Candidate(objective=Mix(0.5)),
)
"""Ways to spend the caps, chosen on fold 4 of ESC-50, as `MARGIN` was."""

CANDIDATES = (
    *WAYS,
    *(replace(way, importance=residual) for way in WAYS),
    Candidate(objective=Additive(), importance=residual),
)
"""What is compared where there is data and nothing is said."""

MARGIN = 0.02
"""The first candidate gives way only to a loss that is smaller by this part: the loss before
fine-tuning says little where it differs little."""


def choose(
    allocations: Sequence[Allocation], loss: Callable[[Structure], float]
) -> tuple[Allocation, tuple[float, ...]]:
    """The allocation with the least loss, or the first if none is clearly better; all losses.

    `loss` measures a structure; where there is nothing to choose it is not called, and there are no
    losses.
    """
    first, *others = allocations
    if all(other.structure == first.structure for other in others):
        return first, ()
    losses = tuple(loss(allocation.structure) for allocation in allocations)
    best = min(range(len(losses)), key=losses.__getitem__)
    return allocations[best if clearly_less(losses[best], losses[0]) else 0], losses


def clearly_less(loss: float, than: float) -> bool:
    """True if a loss is smaller by more than the margin."""
    return math.isfinite(loss) and (math.isinf(than) or loss < than - MARGIN * abs(than))
