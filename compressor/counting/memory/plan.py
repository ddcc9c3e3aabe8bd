"""A plan of an arena: the byte at which each tensor begins, what that takes, if it is sound."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from compressor.counting.memory.lifetimes import ALIGNMENT, Lifetime


@dataclass(frozen=True)
class Plan:
    """Offsets of tensors in one arena.

    Attributes:
        offsets: Of each tensor, in bytes from the start of the arena, in the order of the tensors.
        head: Bytes of the arena: the end of the tensor that ends last.
    """

    offsets: tuple[int, ...]
    head: int


def planned(lifetimes: Sequence[Lifetime], offsets: Sequence[int]) -> Plan:
    """The plan with these offsets, whether or not it is a sound one (`check`)."""
    ends = (at + tensor.room for at, tensor in zip(offsets, lifetimes, strict=True))
    return Plan(tuple(offsets), max(ends, default=0))


def clashes(lifetimes: Sequence[Lifetime], offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of tensors, by their place, that are alive together and share a byte."""
    order = sorted(range(len(lifetimes)), key=lambda n: lifetimes[n].first)
    alive: list[int] = []
    found: list[tuple[int, int]] = []
    for n in order:
        alive = [m for m in alive if lifetimes[m].last >= lifetimes[n].first]
        found += [(min(m, n), max(m, n)) for m in alive if _share(lifetimes, offsets, m, n)]
        alive.append(n)
    return sorted(found)


def check(lifetimes: Sequence[Lifetime], offsets: Sequence[int]) -> None:
    """Refuse a plan that would overwrite what is still read.

    Raises:
        ValueError: If the numbers differ, an offset is negative or no multiple of `ALIGNMENT`, or
            two tensors share bytes while both are alive.
    """
    if len(offsets) != len(lifetimes):
        raise ValueError(f"a plan of {len(offsets)} offsets is none for {len(lifetimes)} tensors")
    for tensor, at in zip(lifetimes, offsets, strict=True):
        if at < 0 or at % ALIGNMENT:
            raise ValueError(
                f"the plan puts {tensor.name!r} at byte {at}: an offset is a multiple of "
                f"{ALIGNMENT}, from 0 on"
            )
    for m, n in clashes(lifetimes, offsets)[:1]:
        raise ValueError(
            f"the plan puts {lifetimes[m].name!r} (bytes {offsets[m]:,} to "
            f"{offsets[m] + lifetimes[m].room:,}) and {lifetimes[n].name!r} ({offsets[n]:,} to "
            f"{offsets[n] + lifetimes[n].room:,}) on the same bytes, and both are alive at step "
            f"{max(lifetimes[m].first, lifetimes[n].first)}: plan the arena anew"
        )


def lowest_gap(size: int, taken: Iterable[tuple[int, int]]) -> int:
    """The lowest offset at which `size` bytes are free, given pieces (start, end) in rising order.

    Pieces may overlap each other, as those of somebody else's plan do.
    """
    at = 0
    for start, end in taken:
        if start - at >= size:
            break
        at = max(at, end)
    return at


def place(
    lifetimes: Sequence[Lifetime], order: Iterable[int], fixed: Sequence[int | None] = ()
) -> Plan:
    """Every tensor in its turn at the lowest free place, after those whose offset is given.

    Args:
        lifetimes: Tensors.
        order: Places in `lifetimes` of the tensors without a given offset.
        fixed: A given offset or None for each of them; empty where none is given.
    """
    offsets = list(fixed) or [None] * len(lifetimes)
    taken: list[tuple[int, int]] = []  # (offset, place), rising; of what has its offset already
    for n, at in enumerate(offsets):
        if at is not None:
            insort(taken, (at, n))
    for n in order:
        wanted = lifetimes[n]
        near = ((at, at + lifetimes[m].room) for at, m in taken if wanted.meets(lifetimes[m]))
        at = lowest_gap(wanted.room, near)
        offsets[n] = at
        insort(taken, (at, n))
    return planned(lifetimes, [at or 0 for at in offsets])


def _share(lifetimes: Sequence[Lifetime], offsets: Sequence[int], m: int, n: int) -> bool:
    ends = offsets[m] + lifetimes[m].room, offsets[n] + lifetimes[n].room
    return max(offsets[m], offsets[n]) < min(ends)
