"""What TensorFlow Lite Micro's own planner makes of an arena, to the byte.

`GreedyMemoryPlanner` of tflite-micro (`micro/memory_planner/greedy_memory_planner.cc`): what has an
offset in the file stands first; all others follow from the largest to the smallest, each at the
lowest gap between those that are alive with it. It fills its list from the end, so that of equal
tensors the *latest* goes first.
"""

from __future__ import annotations

from collections.abc import Sequence

from compressor.counting.memory.lifetimes import Lifetime
from compressor.counting.memory.plan import Plan, place


def greedy(lifetimes: Sequence[Lifetime], given: Sequence[int | None] = ()) -> Plan:
    """The plan of TensorFlow Lite Micro.

    Args:
        lifetimes: Tensors in the order of the file, then the kernels' own buffers in the order of
            the operators that ask for them.
        given: Offset in the file's own plan or None for each; empty where it has no plan.

    Raises:
        ValueError: If there is not one entry of `given` for each tensor.
    """
    given = given or [None] * len(lifetimes)
    if len(given) != len(lifetimes):
        raise ValueError(
            f"{len(given)} offsets are given for {len(lifetimes)} tensors: one for each"
        )
    free = [n for n, at in enumerate(given) if at is None]
    order = sorted(free, key=lambda n: (-lifetimes[n].room, -n))
    return place(lifetimes, order, given)
