"""A plan of our own: first fit in several orders, then bounded random moves, down to the bound.

To place tensors with given lifetimes in the smallest arena is NP-hard (dynamic storage allocation,
Garey and Johnson, "Computers and Intractability", 1979, problem SR2). Placing them one by one at
the lowest free byte reaches the best plan for some order of them, so orders are what is searched;
the largest live set says when to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from compressor.counting.memory.lifetimes import Lifetime, peak
from compressor.counting.memory.plan import Plan

TRIES = 3000
"""Plans that are tried; a few hundred tensors take seconds."""

_Key = Callable[[Lifetime], tuple[int, ...]]

_ORDERS: tuple[_Key, ...] = (
    lambda t: (-t.room, t.first),
    lambda t: (-t.room, -t.first),
    lambda t: (-t.room * (t.last - t.first + 1),),
    lambda t: (t.first, -t.last),
    lambda t: (-t.last, t.first),
    lambda t: (t.first - t.last, -t.room),
)
"""Orders to begin with: by size, by size times time, by time both ways, by duration."""


def plan(lifetimes: Sequence[Lifetime], tries: int = TRIES, seed: int = 0) -> Plan:
    """A sound plan with as small an arena as was found; the bound if that was reached.

    It depends on the tensors, not on the order in which they are given, and is the same in every
    process.

    Args:
        lifetimes: Tensors and, if a place is to be left for them, the kernels' own buffers.
        tries: The most plans that are tried, from 1 on.
        seed: Of the random moves.

    Raises:
        ValueError: If `tries` is below 1.
    """
    if tries < 1:
        raise ValueError(f"plan(tries={tries}): at least one plan has to be tried")
    known = sorted(range(len(lifetimes)), key=lambda n: _identity(lifetimes[n]))
    tensors = [lifetimes[n] for n in known]
    found = _Search(tensors).run(tries, Random(seed))  # noqa: S311 - moves, no secret
    offsets = dict(zip(known, found, strict=True))
    ends = (at + t.room for at, t in zip(found, tensors, strict=True))
    return Plan(tuple(offsets[n] for n in range(len(known))), max(ends, default=0))


def _identity(tensor: Lifetime) -> tuple[int, int, int, str]:
    return tensor.first, tensor.last, tensor.size, tensor.name


class _Search:
    """Tries orders of tensors; who meets whom is known once for all of them."""

    def __init__(self, tensors: Sequence[Lifetime]) -> None:
        self.tensors = tensors
        self.rooms = [tensor.room for tensor in tensors]
        self.near = _neighbours(tensors)
        self.bound = peak(tensors).bytes

    def run(self, tries: int, random: Random) -> list[int]:
        """Offsets of the best plan found."""
        places = range(len(self.tensors))
        starts = [sorted(places, key=lambda n, key=key: key(self.tensors[n])) for key in _ORDERS]
        tried = [(*self._place(order), order) for order in starts[:tries]]
        head, offsets, order = min(tried, key=lambda one: one[0])
        for _ in range(tries - len(tried)):
            if head <= self.bound:
                break
            moved = self._moved(order, offsets, head, random)
            size, other = self._place(moved)
            if size <= head:  # equal ones too: else the search stands still on a plain
                head, offsets, order = size, other, moved
        return offsets

    def _place(self, order: Sequence[int]) -> tuple[int, list[int]]:
        """Arena and offsets where each tensor in its turn takes the lowest free place."""
        offsets = [-1] * len(order)
        head = 0
        for n in order:
            room, at = self.rooms[n], 0
            taken = sorted((offsets[m], self.rooms[m]) for m in self.near[n] if offsets[m] >= 0)
            for start, size in taken:
                if start - at >= room:
                    break
                at = max(at, start + size)
            offsets[n] = at
            head = max(head, at + room)
        return head, offsets

    def _moved(
        self, order: Sequence[int], offsets: Sequence[int], head: int, random: Random
    ) -> list[int]:
        """Another order: a tensor that stands at the top, or one beside it, goes earlier."""
        top = [n for n in order if offsets[n] + self.rooms[n] == head]
        chosen = random.choice(top)
        if random.random() < 0.5 and self.near[chosen]:
            chosen = random.choice(self.near[chosen])
        moved = [n for n in order if n != chosen]
        moved.insert(random.randrange(len(order)), chosen)
        return moved


def _neighbours(tensors: Sequence[Lifetime]) -> list[list[int]]:
    """For each tensor, in the order of their first steps, those that are alive with it."""
    near: list[list[int]] = [[] for _ in tensors]
    alive: list[int] = []
    for n, tensor in enumerate(tensors):
        alive = [m for m in alive if tensors[m].last >= tensor.first]
        for m in alive:
            near[m].append(n)
            near[n].append(m)
        alive.append(n)
    return near
