"""Choices where a program can be read in several ways: those made, and those refused before.

Grouped channels stay equally large if whole groups go or if every group loses the same offsets; a
view that splits channels can shrink in one of several dimensions; a cut may stand for a share or
for a position. The program does not say which of these the code means. So the reading that leaves
most units comes first, and what the model's own code does not survive (`compressor.tracing.trial`)
is refused in the next walk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from compressor.tracing.couplings import Ids

Refused = Mapping[str, frozenset[int]]
"""Options that may not be chosen, by name of the operation."""


@dataclass(frozen=True)
class Choice:
    """One reading of one operation.

    Attributes:
        node: Name of the operation.
        option: What was chosen, a number that means something to the operation's rule.
        ids: The ids that it concerns.
        last: Whether nothing else is left to choose.
        doubt: Rank among choices that may be wrong: of those that concern an axis that the code
            does not survive the most doubtful go first.
        silent: Whether the code runs on with a wrong option, and computes something else.
    """

    node: str
    option: int
    ids: Ids
    last: bool
    doubt: int = 0
    silent: bool = False


@dataclass
class Choices:
    """The choices of one walk: options that may not be made, and those made, in order."""

    refused: Refused = field(default_factory=dict[str, frozenset[int]])
    made: list[Choice] = field(default_factory=list[Choice])

    def take(
        self, node: str, order: Sequence[int], ids: Ids, doubt: int = 0, *, silent: bool = False
    ) -> int:
        """The first option in this order that is not refused; the last of all if all are."""
        refused = self.refused.get(node, frozenset())
        left = [option for option in order if option not in refused]
        option = left[0] if left else order[-1]
        self.made.append(Choice(node, option, ids, len(left) < 2, doubt, silent))
        return option


def refusing(refused: Refused, choices: Sequence[Choice]) -> Refused:
    """Add these choices to those refused before."""
    more = {c.node: refused.get(c.node, frozenset[int]()) | {c.option} for c in choices}
    return {**refused, **more}


def by_units(units: Mapping[int, int]) -> list[int]:
    """Options by how many units they leave, most first; equal ones in the order given."""
    return sorted(units, key=lambda option: -units[option])
