"""Kernels of TensorFlow Lite Micro on all values that there are, by the reference's rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from compressor.export.micro.draft import Draft
from compressor.export.micro.operations import (
    Difference,
    Moved,
    Operation,
    Root,
    Sigmoid,
    Squares,
    Sum,
    Times,
)
from compressor.export.micro.program import Port, Program, Steps
from compressor.export.micro.program import Tensor as Entry
from compressor.export.micro.writing import written
from compressor.network.fixed import (
    SIGMOID,
    FixedMove,
    FixedProduct,
    FixedSigmoid,
    FixedSum,
    sum_steps,
)
from compressor.network.fixed_point import scaled
from compressor.network.fixed_root import inverse_root_steps
from compressor.network.grid import Grid
from tests.helpers.tflm import interpreter, run

ALL = np.arange(-128, 128)
GRID = Grid(-128, 127, 0)


def entry(size: int, scale: float, zero: int) -> Entry:
    return Entry((1, size), np.dtype(np.int8), Steps(np.array([scale], dtype=np.float32), zero))


def program(operation: Operation, given: list[Entry], result: Entry) -> Program:
    draft = Draft()
    numbers = [draft.add(entry) for entry in given]
    draft.run(operation, numbers, result)
    ports = [Port(n, e.shape, np.arange(e.shape[1])) for n, e in enumerate(draft.tensors)]
    return Program(
        tuple(draft.tensors), tuple(draft.operators), tuple(ports[:-1]), tuple(ports[-1:])
    )


def kernel(operation: Operation, given: list[Entry], result: Entry, x: list[np.ndarray]) -> Tensor:
    """Steps of the result, less its zero point."""
    runs = interpreter(written(program(operation, given, result)))
    (found,) = run(runs, [values.astype(np.int8).reshape(1, -1) for values in x])
    return torch.from_numpy(found.astype(np.int64).reshape(-1)) - result.steps.zero


def scales(seed: int, count: int) -> list[float]:
    generator = np.random.default_rng(seed)
    return [float(np.float32(x)) for x in 10 ** generator.uniform(-3, 0, count)]


def numbers(x: np.ndarray, zero: int, scale: float) -> Tensor:
    return torch.from_numpy(x - zero).float() * scale


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("zero", [0, -128, 17])
def test_sigmoid(seed: int, zero: int) -> None:
    (scale,) = scales(seed, 1)
    found = kernel(Sigmoid(), [entry(256, scale, zero)], entry(256, SIGMOID, -128), [ALL])
    wanted = FixedSigmoid()(numbers(ALL, zero, scale), torch.tensor(scale)) / SIGMOID
    assert torch.equal(found, wanted.long())


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("zero", [0, -128])
def test_moves(seed: int, zero: int) -> None:
    before, after = scales(seed, 2)
    found = kernel(Moved(), [entry(256, before, zero)], entry(256, after, 0), [ALL])
    wanted = FixedMove()(numbers(ALL, zero, before), torch.tensor(before), torch.tensor(after))
    assert torch.equal(found, (wanted / after).round().long().clamp(-128, 127))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("operation", [Sum(), Times()])
def test_pairs(seed: int, operation: Operation) -> None:
    one, other = scales(seed, 2)
    result = (one + other) / 2 if isinstance(operation, Sum) else one * other * 100
    result = float(np.float32(result))
    x, y = (grid.reshape(-1) for grid in np.meshgrid(ALL, ALL))
    given = [entry(x.size, one, -128), entry(x.size, other, 3)]
    found = kernel(operation, given, entry(x.size, result, -5), [x, y])
    rule = FixedSum((GRID, GRID, GRID)) if isinstance(operation, Sum) else FixedProduct()
    each = (torch.tensor(scale) for scale in (one, other, result))
    wanted = rule(numbers(x, -128, one), numbers(y, 3, other), *each) / result
    assert torch.equal(found, wanted.round().long().clamp(-123, 132))


@pytest.mark.parametrize("seed", range(8))
def test_differences(seed: int) -> None:
    one, other = scales(seed, 2)
    result = float(np.float32((one + other) / 2))
    x, y = (grid.reshape(-1) for grid in np.meshgrid(ALL, ALL))
    given = [entry(x.size, one, -128), entry(x.size, other, 3)]
    found = kernel(Difference(), given, entry(x.size, result, -5), [x, y])
    each = (torch.tensor(scale) for scale in (one, other, result))
    steps = torch.from_numpy(x + 128), torch.from_numpy(y - 3)
    assert torch.equal(found, sum_steps(*steps, *each, minus=True).clamp(-123, 132))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("largest", [1.0, 40.0, 250.0, 2000.0])
def test_one_over_roots(seed: int, largest: float) -> None:
    """`largest` steps of the result stand for one over the root of one step."""
    (scale,) = scales(seed, 1)
    result = float(np.float32(scale**-0.5 / largest))
    found = kernel(Root(), [entry(256, scale, -128)], entry(256, result, -128), [ALL])
    each = (torch.tensor(worth) for worth in (scale, result))
    wanted = inverse_root_steps(torch.arange(256), *each, 255).clamp(0, 255)
    assert torch.equal(found, wanted)
    exact = torch.arange(1, 256).double().rsqrt() * largest
    assert float((wanted[1:] - exact.clamp(max=255)).abs().max()) < 0.51


@pytest.mark.parametrize("seed", range(6))
def test_squares_of_rows(seed: int) -> None:
    (scale,), (rows, size) = scales(seed, 1), (50, 300)
    x = np.random.default_rng(seed).integers(-128, 128, (1, rows, 1, size)) // (1 + seed)
    sums = torch.from_numpy((x[0, :, 0] - 3) ** 2).sum(1)
    result = float(np.float32(scale**2 * int(sums.max()) / 240))
    draft = Draft()
    steps = Steps(np.array([scale], np.float32), 3), Steps(np.array([result], np.float32), -128)
    given = draft.add(Entry(x.shape, np.dtype(np.int8), steps[0]))
    made = draft.run(Squares(), [given, given], Entry((1, rows, 1, 1), np.dtype(np.int8), steps[1]))
    ports = Port(given, x.shape, np.arange(x.size)), Port(made, (1, rows, 1, 1), np.arange(rows))
    whole = Program(tuple(draft.tensors), tuple(draft.operators), ports[:1], ports[1:])
    (found,) = run(interpreter(written(whole)), [x.astype(np.int8)])
    unit = (torch.tensor(scale) * torch.tensor(scale)).double() / torch.tensor(result).double()
    assert torch.equal(torch.from_numpy(found.reshape(-1).astype(int)) + 128, scaled(sums, unit))
