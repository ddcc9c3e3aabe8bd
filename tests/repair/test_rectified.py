"""Least squares before a rectifier is the minimum of a convex error, found by another program."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from compressor.repair import rectified as module
from compressor.repair.aim import Aim
from compressor.repair.products import Products
from compressor.repair.rectified import Block, one_sided
from compressor.repair.ridge import Solution, solved

ROWS, ENTRIES, OUT = 400, 6, 3
RELU = (0.0, float("inf"))


def problem(seed: int, low: float, high: float) -> tuple[Tensor, Aim]:
    """Entries, and outputs that they explain in part."""
    draws = torch.Generator().manual_seed(seed)
    u = torch.randn(ROWS, ENTRIES, generator=draws)
    true = torch.randn(OUT, ENTRIES, generator=draws)
    y = torch.sin(u @ true.T) * 3 + torch.randn(ROWS, OUT, generator=draws) * 0.5
    scale = torch.tensor([0.5, -2.0, 1.0])
    offset = torch.randn(ROWS, OUT, generator=draws) * 0.3
    return u, Aim(y, scale, offset, scale != 0, low, high)


def answers(u: Tensor, aim: Aim) -> tuple[Solution, Solution, Products]:
    """The plain answer, the one-sided one, and the products."""
    halves = [Products.none(1, OUT, ENTRIES) for _ in range(2)]
    for products, rows in zip(halves, (slice(0, 200), slice(200, 400)), strict=True):
        products.add(u[rows, None], aim.y[rows, None])
    weight = torch.zeros(1, OUT, ENTRIES, dtype=torch.float64)
    plain = replace(solved(*halves, weight, biased=True), pull=1e-2)
    both = halves[0] + halves[1]
    return plain, one_sided(plain, both, weight, [Block(u[:, None], aim)]), both


def error(u: Tensor, aim: Aim, weight: Tensor, bias: Tensor) -> Tensor:
    """The error, written anew: what is let through, in the layer's own size, and what goes over."""
    given, wanted = (aim.scale * v + aim.offset for v in (u @ weight.T + bias, aim.y))
    below, above = wanted <= aim.low, wanted >= aim.high
    gap = torch.where(below, (given - aim.low).clamp(min=0), given - wanted)
    gap = torch.where(above, (given - aim.high).clamp(max=0), gap)
    return (gap / aim.scale).square().mean(0).sum()


@pytest.mark.parametrize("bounds", [RELU, (0.0, 1.5), (-1.0, 1.0)])
def test_the_answer_is_the_least_error_that_another_program_finds(
    bounds: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROUNDS", 3000)
    monkeypatch.setattr(module, "LITTLE", 0.0)
    u, aim = problem(0, *bounds)
    u = u.double()
    aim = replace(aim, y=aim.y.double(), scale=aim.scale.double(), offset=aim.offset.double())
    plain, found, products = answers(u, aim)
    ridge = plain.pull * float(products.centred().uu.diagonal(dim1=1, dim2=2).mean())

    def loss(flat: list[float]) -> tuple[float, list[float]]:
        x = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
        weight, bias = x[:-OUT].view(OUT, ENTRIES), x[-OUT:]
        value = error(u, aim, weight, bias) + ridge * weight.square().sum()
        value.backward()
        assert x.grad is not None
        return float(value.detach()), x.grad.tolist()

    least = minimize(loss, [0.0] * (OUT * ENTRIES + OUT), jac=True, method="L-BFGS-B").fun
    assert found.bias is not None
    mine = error(u, aim, found.weight[0], found.bias[0]) + ridge * found.weight.square().sum()
    assert float(mine) == pytest.approx(least, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_never_further_off_than_the_plain_answer(seed: int) -> None:
    u, aim = problem(seed, *RELU)
    plain, found, _ = answers(u, aim)
    assert plain.bias is not None
    assert found.bias is not None
    first = error(u, aim, plain.weight[0].float(), plain.bias[0].float())
    last = error(u, aim, found.weight[0].float(), found.bias[0].float())
    assert float(last) < float(first)
    assert found.after < found.before


def test_an_answer_without_error_stays() -> None:
    u, aim = problem(0, *RELU)
    aim = replace(aim, y=u @ torch.ones(OUT, ENTRIES).T + 1)
    plain, _, products = answers(u, aim)
    ones = torch.ones(1, OUT, ENTRIES, dtype=torch.float64)
    exact = replace(plain, weight=ones, bias=torch.ones(1, OUT, dtype=torch.float64))
    found = one_sided(exact, products, ones, [Block(u[:, None], aim)])
    assert torch.equal(found.weight, exact.weight)


def test_without_a_rectifier_or_a_bias_the_plain_answer_is_the_answer() -> None:
    u, aim = problem(0, *RELU)
    plain, _, products = answers(u, aim)
    assert one_sided(plain, products, plain.weight, []) is plain
    unbiased = replace(plain, bias=None)
    assert one_sided(unbiased, products, plain.weight, [Block(u[:, None], aim)]) is unbiased


def test_a_scale_of_zero_asks_for_what_the_dense_layer_gave() -> None:
    _, aim = problem(0, *RELU)
    aim = replace(aim, told=torch.tensor([True, False, True]))
    v = torch.randn(ROWS, OUT)
    assert torch.equal(aim.towards(v)[:, 1], aim.y[:, 1])
