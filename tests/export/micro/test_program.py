"""A program as plain data: sizes, lives of tensors, values in and out."""

from __future__ import annotations

import numpy as np
import pytest

from compressor.export.micro.draft import Draft
from compressor.export.micro.layout import axis, channels_last, placed
from compressor.export.micro.operations import Moved, Sum
from compressor.export.micro.program import (
    Lifetime,
    Numbers,
    Operator,
    Port,
    Program,
    Steps,
    Tensor,
)

INT8 = np.dtype(np.int8)
GRID = Steps(np.array([0.5], dtype=np.float32), zero=-128)


def entry(*shape: int) -> Tensor:
    return Tensor(shape, INT8, GRID)


def port(number: int, shape: tuple[int, ...] = (1, 4)) -> Port:
    return Port(number, shape, np.arange(np.prod(shape)))


def diamond() -> Program:
    """0 -> 1, 1 -> 2, 0 + 2 -> 3; a constant beside."""
    constant = Tensor((4,), np.dtype(np.int32), None, np.zeros(4, dtype=np.int32))
    operators = (
        Operator(Moved(), (0,), (1,)),
        Operator(Moved(), (1, 4), (2,)),
        Operator(Sum(), (0, 2), (3,)),
    )
    tensors = (*(entry(1, 4) for _ in range(4)), constant)
    return Program(tensors, operators, (port(0),), (port(3),))


def test_tensors_live_from_their_operator_to_their_last_reader() -> None:
    wanted = {0: Lifetime(0, 2), 1: Lifetime(0, 1), 2: Lifetime(1, 2), 3: Lifetime(2, 2)}
    assert diamond().lifetimes() == wanted
    assert [set(diamond().alive(n)) for n in range(3)] == [{0, 1}, {0, 1, 2}, {0, 2, 3}]


def test_an_output_that_is_read_lives_to_the_end() -> None:
    given = diamond()
    more = Program(given.tensors, given.operators, given.inputs, (port(1), port(3)))
    assert more.lifetimes()[1] == Lifetime(0, 2)


def test_what_nobody_reads_lives_for_a_moment() -> None:
    given = diamond()
    operators = (*given.operators[:1], *given.operators[2:])
    kept = Program(given.tensors, operators, given.inputs, given.outputs)
    assert kept.lifetimes()[1] == Lifetime(0, 0)


def test_sizes_are_bytes() -> None:
    assert entry(1, 3, 5, 7).size == 105
    assert Tensor((6,), np.dtype(np.int32)).size == 24


def test_equal_constants_are_one() -> None:
    draft = Draft()
    numbers = [draft.whole([1, 2]), draft.whole([1, 2]), draft.whole([2, 1])]
    grids = [
        draft.constant(np.array([1, 2], dtype=np.int32), Steps(np.float32([s]))) for s in (1, 2)
    ]
    assert numbers == [0, 0, 1]
    assert grids == [2, 3]


def test_values_go_in_channels_last_and_come_back() -> None:
    shape = (1, 2, 3, 4)
    tensor = Tensor(placed(shape), INT8, GRID)
    ports = (Port(0, shape, channels_last(shape)),)
    program = Program((tensor,), (), ports, ports)
    x = np.arange(24, dtype=np.float32).reshape(shape) / 2
    (given,) = program.encoded([x])
    assert given.shape == (1, 3, 4, 2)
    assert np.array_equal(given, (x * 2 - 128).astype(np.int8).transpose(0, 2, 3, 1))
    (back,) = program.decoded([given])
    assert np.array_equal(back, x)


def test_what_is_beyond_the_grid_is_limited() -> None:
    program = Program((entry(1, 4),), (), (port(0),), (port(0),))
    (given,) = program.encoded([np.array([[-5.0, 0.25, 0.75, 1e6]], dtype=np.float32)])
    assert given.tolist() == [[-128, -128, -126, 127]]  # halves to even


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"0 inputs were given and the network takes 1: .* \(1, 4\)$"),
        ([np.zeros((1, 4)), np.zeros((1, 4))], "2 inputs were given"),
        ([np.zeros((2, 4))], r"input 0 is \(2, 4\) and the network takes \(1, 4\): .* at a time"),
        ([np.zeros(4)], r"input 0 is \(4,\)"),
        ([np.zeros((4, 1))], r"input 0 is \(4, 1\)"),
        (np.zeros((1, 4)), r"input 0 is \(4,\)"),
        ([np.array([[0, np.nan, 0, 0]])], "input 0 holds NaN, which no integer stands for"),
    ],
    ids=["none", "two", "a batch", "no batch", "turned", "no list", "NaN"],
)
def test_what_is_no_input_is_refused(values: list[Numbers], message: str) -> None:
    program = Program((entry(1, 4),), (), (port(0),), (port(0),))
    assert program.encoded([np.zeros((1, 4))])[0].tolist() == [[-128] * 4]
    with pytest.raises(ValueError, match=message) as said:
        program.encoded(values)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("shape", [(1, 5), (1, 5, 7), (1, 5, 7, 3)])
def test_axes_are_those_of_the_memory(shape: tuple[int, ...]) -> None:
    for dim, size in enumerate(shape):
        assert placed(shape)[axis(dim, len(shape))] == size
