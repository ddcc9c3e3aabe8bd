"""Working memory of a program: what is alive when, what that takes, and a plan of our own."""

from __future__ import annotations

from collections.abc import Mapping

from compressor.counting.memory.lifetimes import Lifetime, peak
from compressor.counting.memory.packing import packed
from compressor.export.micro.operations import Padded, Part, Reshaped
from compressor.export.micro.program import Operator, Program

_COPIES: Mapping[type[object], str] = {Padded: "padded", Part: "a part", Reshaped: "reshaped"}
"""Results that are no layer's own, as messages call them."""


def lifetimes(program: Program) -> dict[int, Lifetime]:
    """The tensors that take working memory, by number, named by the layers that make them."""
    names = {port.tensor: f"input {program.tensors[port.tensor].name}" for port in program.inputs}
    for operator in program.operators:
        names |= dict.fromkeys(operator.outputs, made_by(operator))
    return {
        number: Lifetime(names[number], program.tensors[number].size, alive.first, alive.last)
        for number, alive in program.lifetimes().items()
    }


def ram(program: Program) -> int:
    """Bytes of the largest live set, each tensor rounded up: what no plan can do without."""
    return peak([*lifetimes(program).values()]).bytes


def head(program: Program) -> int:
    """Bytes of an arena with a plan of our own: `ram`, or more where none so small was found."""
    return packed([*lifetimes(program).values()]).head


def plan(program: Program) -> dict[int, int]:
    """Offsets in bytes of the tensors that take working memory, by number."""
    alive = lifetimes(program)
    return dict(zip(alive, packed([*alive.values()]).offsets, strict=True))


def made_by(operator: Operator) -> str:
    """What messages call an operator's result: its layer, and what was done where that is more."""
    copy = _COPIES.get(type(operator.operation))
    return operator.layer if copy is None else f"{operator.layer} ({copy})"
