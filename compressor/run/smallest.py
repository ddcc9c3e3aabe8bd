"""The file of the smallest structure, for networks whose bytes seem too many.

A network's description deflates to some bytes more or less at other widths. So before a cap on
bytes is refused, the smallest structure is made and its bound taken: a refusal names what can be
reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from compressor.allocation import Allocation, allocate
from compressor.allocation.bounded import Bounded
from compressor.allocation.problem import Integers, allowed_widths
from compressor.allocation.request import Form
from compressor.budget import Budget
from compressor.errors import BudgetError
from compressor.graph.graph import Graph, Polynomial
from compressor.graph.structure import restrict, top
from compressor.run.file_size import Captured, Stored
from compressor.surgery.cutting import shrink

Allocate = Callable[[Mapping[str, Form]], Allocation]


def allocated_within(
    stored: Stored,
    caps: Budget,
    costs: Mapping[str, Form],
    choose: Allocate,
    *,
    floor: int,
    round_to: int,
) -> Allocation:
    """The answer of `choose` to forms of cost, and where they refuse, to the smallest structure.

    `caps` are the final ones; there is something to find out if bytes are among the `costs`. Every
    axis has at least `floor` units, and its width is a multiple of `round_to`, or full.

    Raises:
        BudgetError: If the smallest structure is too large; its bytes are exact.
    """
    try:
        return choose(costs)
    except BudgetError:
        if "bytes" not in costs or stored.masks or stored.bits:
            raise
    widths = smallest_widths(stored.graph, floor, round_to)
    small = _cut(stored, widths)
    # Nothing but the smallest structure is within: for any other the form would be a guess again.
    least = max(stored.artefact.bound(small), caps.caps["bytes"])
    form = moved(costs["bytes"], widths, least, stored.artefact.told(small))
    return choose({**costs, "bytes": form})


def moved(form: Form, widths: Integers, to: int, told: str) -> Polynomial:
    """A form of bytes with another constant, so that it is what is known at some widths.

    One that is no polynomial gives way to what it is never below; `told` says what the bytes are.
    """
    if isinstance(form, Bounded):
        (form,) = form.rows(widths, 0).values()
    const = form.const + to * form.unit - form(widths)
    return replace(form, const=max(const, 0), told=told)


def check_within(
    stored: Stored, caps: Budget, costs: Mapping[str, Form], *, floor: int, round_to: int
) -> None:
    """Raise a `BudgetError` if caps cannot be met at all, whatever the importance."""
    scores = np.ones(stored.graph.units)

    def anyhow(forms: Mapping[str, Form]) -> Allocation:
        return allocate(
            stored.graph, scores, caps, method="uniform", floor=floor, round_to=round_to,
            costs=forms,
        )  # fmt: skip

    allocated_within(stored, caps, costs, anyhow, floor=floor, round_to=round_to)


def smallest_widths(graph: Graph, floor: int = 1, round_to: int = 1) -> Integers:
    """The width of every axis below which nothing goes; that of a frozen one is its size."""
    first = (
        axis.size if axis.frozen else allowed_widths(axis.size, floor, round_to)[0]
        for axis in graph.axes
    )
    return np.array(list(first), dtype=np.int64)


def _cut(stored: Stored, widths: Integers) -> Stored:
    """What is left with these widths."""
    graph = stored.graph
    structure = top(graph, np.ones(graph.units), widths)
    small = shrink(stored.model, graph, structure)
    return replace(stored, model=small, graph=restrict(structure), captured=Captured())
