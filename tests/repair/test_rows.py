"""Rows are what a convolution multiplies: times the weight they give its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from compressor.repair.applied import Applied, Watch
from compressor.repair.rows import Places, as_matrix, as_weight, part_of, places, read, written
from tests.helpers.cases import cases

PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Case:
    """A convolution and the input it is given."""

    layer: nn.Module
    x: Tensor


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    """Of every kind, in one to three dimensions of space, in double precision."""
    space, transposed = draw(st.integers(1, 3)), draw(st.booleans())

    def each(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(least, most)) for _ in range(space))

    groups = draw(st.sampled_from([1, 1, 2, 4]))
    inside, out = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel, stride, dilation = each(1, 3), each(1, 3), each(1, 2)
    padding = each(0, 2)
    how: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
    if transposed:
        how["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        padding = tuple(
            min(p, d * (k - 1)) for p, d, k in zip(padding, dilation, kernel, strict=True)
        )
    torch.manual_seed(draw(st.integers(0, 100)))
    kind = (TRANSPOSED if transposed else PLAIN)[space - 1]
    layer = kind(inside, out, kernel, padding=padding, bias=draw(st.booleans()), **how)
    size = [d * (k - 1) + 1 + n for d, k, n in zip(dilation, kernel, each(0, 3), strict=True)]
    return Case(layer.double(), torch.randn(draw(st.integers(1, 3)), inside, *size).double())


def applied(layer: nn.Module, x: Tensor) -> Applied:
    """The one application of a layer's weight."""
    found: list[Applied] = []
    with torch.no_grad(), Watch(layer, found.append):
        layer(x)
    (one,) = found
    return one


def everywhere(one: Applied) -> Places:
    return places(one, 1 << 30, torch.Generator())


@settings(deadline=None, max_examples=cases(60, 300))
@given(convolutions())
def test_rows_times_the_weight_are_the_outputs_of_any_convolution(case: Case) -> None:
    one = applied(case.layer, case.x)
    weight, bias = case.layer.weight.detach(), case.layer.bias
    where = everywhere(one)
    matrix = as_matrix(weight, one)
    u = read(one, tuple(weight.shape[2:]), where)  # (rows, group, entry)
    assert u.shape[1:] == matrix.shape[::2]
    found = torch.einsum("goe,rge->rgo", matrix, u).flatten(1)
    found = found if bias is None else found + bias.detach()
    torch.testing.assert_close(found, written(one, where), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(as_weight(matrix, weight, one), weight, rtol=0, atol=0)
    assert one.bias == (None if bias is None else "bias")


@settings(deadline=None, max_examples=cases(25, 100))
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.integers(1, 2),
    padding=st.integers(0, 2), dilation=st.integers(1, 2), seed=st.integers(0, 100),
)  # fmt: skip
def test_rows_are_those_of_unfold(
    kernel: tuple[int, int], stride: int, padding: int, dilation: int, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = nn.Conv2d(3, 2, kernel, stride, padding, dilation)
    x = torch.randn(2, 3, 7, 6)
    one = applied(layer, x)
    where = everywhere(one)
    columns = functional.unfold(x, kernel, dilation, padding, stride)  # (batch, entry, place)
    wanted = columns.transpose(1, 2).flatten(0, 1)
    assert torch.equal(read(one, kernel, where)[:, 0], wanted)


def test_a_product_reads_its_rows_and_a_weight_the_other_way_round_is_told() -> None:
    x = torch.randn(5, 3)

    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    one = applied(Turned(), x)
    assert one.flipped
    weight = torch.randn(3, 4)
    assert torch.equal(as_matrix(weight, one)[0], weight.T)
    assert torch.equal(as_weight(as_matrix(weight, one), weight, one), weight)
    where = everywhere(one)
    assert torch.equal(read(one, (), where)[:, 0], x)
    assert where.shape == (5,)


def test_places_are_drawn_where_there_are_too_many_and_stay_the_same() -> None:
    one = applied(nn.Conv2d(1, 2, 3), torch.randn(4, 1, 10, 10))
    drawn = [places(one, 50, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert len(drawn[0].examples) == len(drawn[0].spots) == 50
    assert torch.equal(drawn[0].spots, drawn[1].spots)
    rows = one.outputs[drawn[0].examples, :, drawn[0].spots // 8, drawn[0].spots % 8]
    assert torch.equal(written(one, drawn[0]), rows)
    assert len(everywhere(one).spots) == 4 * 8 * 8


@pytest.mark.parametrize(("examples", "later"), [(4, [2, 3]), (3, [2]), (2, [1])])
def test_halves_are_of_other_examples(examples: int, later: list[int]) -> None:
    one = applied(nn.Conv1d(1, 1, 1), torch.randn(examples, 1, 5))
    where = everywhere(one)
    assert where.examples[where.second(0)].unique().tolist() == later


def test_batches_of_one_example_take_turns() -> None:
    where = everywhere(applied(nn.Conv1d(1, 1, 1), torch.randn(1, 1, 5)))
    assert not where.second(0).any()
    assert where.second(1).all()


def test_a_part_of_the_rows_is_a_view() -> None:
    """Rows 2 to 5 of 6, as attention's queries, keys and values are parts of one weight."""
    weight = torch.randn(6, 3)
    x, found = torch.randn(4, 3), list[Applied]()
    layer = nn.Module()
    layer.register_parameter("weight", nn.Parameter(weight))
    with torch.no_grad(), Watch(layer, found.append):
        functional.linear(x, layer.weight[2:5])
    (one,) = found
    assert (one.row, one.outputs.shape[1]) == (2, 3)
    matrix = as_matrix(weight, one)
    part_of(matrix, one).zero_()
    assert torch.equal(weight[2:5], torch.zeros(3, 3))
    assert bool(weight[:2].any())
    assert bool(weight[5:].any())
