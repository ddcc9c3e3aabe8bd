"""Result of an allocation: the structure, and what is known about how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compressor.allocation.objective import Objective
from compressor.allocation.problem import Integers
from compressor.budget import Cost
from compressor.counting.cost import cost_of
from compressor.graph.structure import Structure


@dataclass(frozen=True, eq=False)
class Solution:
    """Result of a method.

    Attributes:
        widths: Width of every axis.
        bound: A proven upper bound on the objective of all fitting widths, if the method has one.
        prices: Objective that one more unit of each cap would add, if the method knows.
        evaluations: Number of points or inner problems it looked at.
        keep: Units that stay, one boolean per unit, where the method chooses them itself; else
            the best by score are kept.
    """

    widths: Integers
    bound: float | None = None
    prices: Mapping[str, float] = field(default_factory=dict[str, float])
    evaluations: int = 0
    keep: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class Allocation:
    """Share of every axis that stays, within every cap.

    Attributes:
        structure: The units that stay.
        widths: Number of units that each axis keeps.
        value: The objective reached.
        bound: No structure within the caps has a larger objective (proven); None for a method
            without a bound.
        gap: Largest distance of value to the best possible, as a part of it. For a logarithmic
            objective ``1 - exp(-(bound - value) / total weight)``: the shortfall of the weighted
            geometric mean of the retained parts; for `Additive` ``1 - value / bound``. None
            without a bound.
        binding: The caps that hold the result down: those that keep at least one axis from
            growing by one step, and those with a price.
        unused: Part of every cap that is left, between 0 and 1.
        prices: Gain in the objective by 1 % more of each cap, to first order; empty for a
            method without prices.
        gains: The same in the unit of `gap`: the part by which 1 % more of each cap would improve
            the widths.
        evaluations: Number of points or inner problems the method looked at.
        method: Its name.
        objective: Objective that `value` and `bound` are measured in.
    """

    structure: Structure
    widths: Integers
    value: float
    bound: float | None
    gap: float | None
    binding: tuple[str, ...]
    unused: dict[str, float]
    prices: dict[str, float]
    evaluations: int
    method: str
    objective: Objective
    gains: dict[str, float] = field(default_factory=dict[str, float])

    def __repr__(self) -> str:
        """One line: the method, the cost, and how far from the best it can be."""
        proof = "" if self.gap is None else f", within {self.gap:.2g} of the best"
        return f"<Allocation by {self.name}: {self.cost}{proof}>"

    @property
    def cost(self) -> Cost:
        """Cost of the structure, by its graph: every parameter counts as not zero."""
        return cost_of(self.structure)

    @property
    def name(self) -> str:
        """Method and objective; a method without a bound maximises nothing."""
        return self.method if self.bound is None else f"{self.method} {self.objective}"
