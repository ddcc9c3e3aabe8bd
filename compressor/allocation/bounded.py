"""Costs that are no polynomials of the widths, but lie between some.

A program has polynomials for rows. So a cap on such a cost is first one on polynomials that it is
never below: what they allow is all that the cap allows and a little more, so that a bound of theirs
is one. Where an answer is that little beyond the cap, rows join that exclude it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from compressor.allocation.problem import Integers
from compressor.graph.graph import Polynomial


class Bounded(ABC):
    """A cost in whole numbers, by the widths of all axes."""

    unit: ClassVar[int] = 1
    """What one of a resource's own units counts here, as in `Polynomial`."""

    @abstractmethod
    def __call__(self, widths: Integers) -> int:
        """The cost at these widths, exactly."""

    @abstractmethod
    def told(self, widths: Integers) -> str:
        """The cost at these widths for an error: its number, and what it is made of."""

    @abstractmethod
    def rows(self, largest: Integers, cap: int) -> dict[str, Polynomial]:
        """Costs that this one is never below, by name; at least one.

        Args:
            largest: The full widths.
            cap: What is never above it at any widths need not be among them.
        """

    @abstractmethod
    def exceeded(self, widths: Integers, smallest: Integers, cap: int) -> dict[str, Polynomial]:
        """Costs that exceed a cap at these widths, by name, if this one does; else none.

        Every one allows the smallest widths, which are within the cap.
        """
