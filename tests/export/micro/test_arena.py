"""Working memory of programs: who is alive, what it takes, and a sound plan."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.counting.memory.plan import check
from compressor.export.micro.arena import head, lifetimes, plan, ram
from compressor.export.micro.operations import Moved, Padded, Sum
from compressor.export.micro.program import Operator, Port, Program, Tensor

INT8 = np.dtype(np.int8)


def tensor(*shape: int, data: bool = False) -> Tensor:
    content = np.zeros(shape, INT8) if data else None
    return Tensor(shape, INT8, data=content, name="x")


@pytest.fixture
def program() -> Program:
    """Pads, moves, and adds: the input is read again at the end."""
    tensors = (tensor(1, 4, 4, 2), tensor(1, 6, 6, 2), tensor(4, 2, data=True), tensor(1, 4, 4, 2))
    operators = (
        Operator(Padded(), (0, 2), (1,), "first"),
        Operator(Moved(), (1,), (3,), "second"),
        Operator(Sum(), (0, 3), (4,), "third"),
    )
    order = np.arange(32)
    ports = (Port(0, (1, 2, 4, 4), order),), (Port(4, (1, 2, 4, 4), order),)
    return Program((*tensors, tensor(1, 4, 4, 2)), operators, *ports)


def test_tensors_live_from_their_operator_to_their_last_reader(program: Program) -> None:
    found = lifetimes(program)
    assert {n: (t.first, t.last, t.room) for n, t in found.items()} == {
        0: (0, 2, 32), 1: (0, 1, 80), 3: (1, 2, 32), 4: (2, 2, 32),
    }  # fmt: skip
    assert [t.name for t in found.values()] == ["input x", "first (padded)", "second", "third"]


def test_the_peak_is_where_most_is_alive(program: Program) -> None:
    assert ram(program) == 32 + 80 + 32


def test_the_plan_is_sound_and_as_small(program: Program) -> None:
    places, alive = plan(program), lifetimes(program)
    assert places.keys() == alive.keys()
    check([*alive.values()], [places[n] for n in alive])
    assert max(places[n] + alive[n].room for n in alive) == head(program) == ram(program)
