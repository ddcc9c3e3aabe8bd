"""Which tensors are alive at which step, and the step at which they take the most memory.

The largest live set is a lower bound for every plan without operations in place: all of its tensors
are needed at one time. A runtime that plans its arena once, before it runs, can reach it or not;
`planning` tries, `tflm` says what TensorFlow Lite Micro does by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

ALIGNMENT = 16
"""Bytes to whose multiples TensorFlow Lite Micro rounds each tensor up."""


def rounded_up(size: int, to: int = ALIGNMENT) -> int:
    """The next multiple of `to`, in bytes."""
    return -(-size // to) * to


@dataclass(frozen=True)
class Lifetime:
    """A tensor, or a kernel's own buffer, from the step that makes it to the last that reads it.

    Attributes:
        name: For messages and pictures; two may have the same.
        size: Bytes of its values.
        first: Step at which it must have memory: of its producer; of the start for an input.
        last: Last step at which it must keep it, itself included.

    Raises:
        ValueError: If it takes a negative number of bytes, or ends before it begins.
    """

    name: str
    size: int
    first: int
    last: int

    def __post_init__(self) -> None:
        """Refuse what no tensor can be."""
        if self.size < 0:
            raise ValueError(
                f"Lifetime({self.name!r}) takes {self.size} bytes: a size is 0 or more"
            )
        if self.last < self.first:
            raise ValueError(
                f"Lifetime({self.name!r}) ends at step {self.last}, before its first, "
                f"{self.first}: give the step of its producer, then that of its last reader"
            )

    @property
    def room(self) -> int:
        """Bytes that it takes in an arena: its size, rounded up to `ALIGNMENT`."""
        return rounded_up(self.size)

    def meets(self, other: Lifetime) -> bool:
        """Whether there is a step at which both are alive."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Peak:
    """The step at which most memory is needed.

    Attributes:
        step: The first such step.
        bytes: What its tensors take together, each rounded up to `ALIGNMENT`.
        tensors: Those alive then, the largest first.
    """

    step: int
    bytes: int
    tensors: tuple[Lifetime, ...]


def steps_of(lifetimes: Sequence[Lifetime]) -> range:
    """From the first step of any tensor to the last; empty without tensors."""
    if not lifetimes:
        return range(0)
    return range(min(t.first for t in lifetimes), max(t.last for t in lifetimes) + 1)


def live_bytes(lifetimes: Sequence[Lifetime]) -> list[int]:
    """What is alive at each step of `steps_of`, in bytes, each tensor rounded up."""
    steps = steps_of(lifetimes)
    change = [0] * (len(steps) + 1)
    for tensor in lifetimes:
        change[tensor.first - steps.start] += tensor.room
        change[tensor.last + 1 - steps.start] -= tensor.room
    return list(accumulate(change))[: len(steps)]


def peak(lifetimes: Sequence[Lifetime]) -> Peak:
    """The largest live set: no plan takes less."""
    used = live_bytes(lifetimes)
    if not used:
        return Peak(0, 0, ())
    most = max(used)
    step = steps_of(lifetimes)[used.index(most)]
    alive = [tensor for tensor in lifetimes if tensor.first <= step <= tensor.last]
    return Peak(step, most, tuple(sorted(alive, key=lambda tensor: -tensor.size)))
