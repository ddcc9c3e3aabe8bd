"""Working memory as a function of the widths: at every step the tensors alive, and their peak.

A tensor is as large as the widths of its channels say, so what is alive at one step is a cost like
any other, linear in the widths of most networks. Their maximum is none, but a cap on it is a cap on
each: one row of the integer program for every step that can exceed it.

Each tensor is rounded up to a multiple of 16 bytes, which is no polynomial either. Without rounding
the program allows all that the cap allows, and a little more: its bound is one. Where its answer
is that little beyond the cap, rows join that have the most that rounding can add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd

from compressor.allocation.bounded import Bounded
from compressor.allocation.problem import Integers
from compressor.counting.memory.lifetimes import ALIGNMENT, rounded_up
from compressor.graph.graph import Polynomial


@dataclass(frozen=True, eq=False)
class Block:
    """A tensor in working memory.

    Attributes:
        name: The layer that makes it, for messages.
        size: Its bytes.
    """

    name: str
    size: Polynomial

    def room(self, widths: Integers) -> int:
        """Bytes that it takes at these widths, rounded up."""
        return rounded_up(self.size(widths))

    @cached_property
    def most(self) -> Polynomial:
        """A bound on `room` for all widths: exact where the size is always a multiple of 16."""
        size = self.size
        if not any((*size.linear, *size.coefs, *size.rates)):
            return replace(size, const=rounded_up(size.const))
        step = gcd(ALIGNMENT, size.const, *size.linear, *size.coefs, *size.rates)
        return replace(size, const=size.const + ALIGNMENT - step)


@dataclass(frozen=True, eq=False)
class Moment:
    """What is alive while one operator runs.

    Attributes:
        layer: The operator's, for messages.
        blocks: The tensors.
    """

    layer: str
    blocks: tuple[Block, ...]

    def room(self, widths: Integers) -> int:
        """Bytes that they take together."""
        return sum(block.room(widths) for block in self.blocks)

    @cached_property
    def size(self) -> Polynomial:
        """Their bytes together, not rounded up: `room` is never below."""
        return total(block.size for block in self.blocks)

    @cached_property
    def most(self) -> Polynomial:
        """A bound on `room` for all widths."""
        return total(block.most for block in self.blocks)


@dataclass(frozen=True, eq=False)
class Memory(Bounded):
    """The working memory of a network of any widths.

    Attributes:
        moments: In the order of the operators; at least one.
    """

    moments: tuple[Moment, ...]

    def __call__(self, widths: Integers) -> int:
        """The peak at these widths, in bytes."""
        return self.peak(widths).room(widths)

    def peak(self, widths: Integers) -> Moment:
        """The first moment at which most is alive."""
        return max(self.moments, key=lambda moment: moment.room(widths))

    def told(self, widths: Integers) -> str:
        """The peak at these widths for an error: its bytes, and what they are."""
        at = self.peak(widths)
        rooms = sorted(((b.room(widths), b.name) for b in at.blocks), reverse=True)
        each = ", ".join(f"{name} ({room:,})" for room, name in rooms)
        return f"{at.room(widths):,} while {at.layer!r} runs: {each}"

    def rows(self, largest: Integers, cap: int) -> dict[str, Polynomial]:
        """The costs that a cap is on, by name: of the steps that can exceed it, without rounding.

        What exceeds one of them exceeds the cap. There is at least one, that of the largest step.
        """
        sizes = {self.name(n): moment.size for n, moment in enumerate(self.moments)}
        over = {name: size for name, size in sizes.items() if size(largest) > cap}
        most = max(sizes, key=lambda name: sizes[name](largest))
        return undominated(over or {most: sizes[most]})

    def exceeded(self, widths: Integers, smallest: Integers, cap: int) -> dict[str, Polynomial]:
        """The costs of the steps that exceed a cap at these widths, each tensor rounded up.

        None of them is below what it stands for, but where the smallest widths, which are within
        the cap, would be beyond it: such a cost is lowered to the cap there, so that the axes that
        it depends on keep their smallest widths.
        """
        found: dict[str, Polynomial] = {}
        for number, moment in enumerate(self.moments):
            if moment.room(widths) > cap:
                over = max(moment.most(smallest) - cap, 0)
                cost = replace(moment.most, const=moment.most.const - over)
                found[f"{self.name(number)}, rounded up"] = cost
        return found

    def name(self, number: int) -> str:
        """What the row of a moment is called."""
        return f"{number} {self.moments[number].layer}"


def total(parts: Iterable[Polynomial]) -> Polynomial:
    """The sum of some costs over the same axes, at least one."""
    parts = list(parts)
    pairs, triples = Counter[tuple[int, int]](), Counter[tuple[int, int, int]]()
    for part in parts:
        pairs.update(dict(zip(part.pairs, part.coefs, strict=True)))
        triples.update(dict(zip(part.triples, part.rates, strict=True)))
    return Polynomial(
        sum(part.const for part in parts),
        tuple(map(sum, zip(*(part.linear for part in parts), strict=True))),
        tuple(sorted(pairs)),
        tuple(pairs[key] for key in sorted(pairs)),
        tuple(sorted(triples)),
        tuple(triples[key] for key in sorted(triples)),
    )


def undominated(costs: Mapping[str, Polynomial]) -> dict[str, Polynomial]:
    """The costs that no other one is never below, in their order; of equal ones the first."""
    kept: dict[str, Polynomial] = {}
    for name, cost in costs.items():
        if any(_never_above(cost, other) for other in kept.values()):
            continue
        kept = {n: other for n, other in kept.items() if not _never_above(other, cost)}
        kept[name] = cost
    return kept


def _never_above(one: Polynomial, other: Polynomial) -> bool:
    """True if no coefficient of one is larger than the other's."""
    pairs = dict(zip((*other.pairs, *other.triples), (*other.coefs, *other.rates), strict=True))
    more = zip((*one.pairs, *one.triples), (*one.coefs, *one.rates), strict=True)
    return (
        one.const <= other.const
        and all(a <= b for a, b in zip(one.linear, other.linear, strict=True))
        and all(rate <= pairs.get(key, 0) for key, rate in more)
    )
