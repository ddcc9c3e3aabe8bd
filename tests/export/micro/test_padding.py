"""What a file pads, against PyTorch: every output reads the same entries of the same input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from compressor.export.micro.padding import Edge, Edges, edges

NONE = (0, 0)


@st.composite
def dimensions(draw: st.DrawFn) -> Edge:
    kernel, dilation = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    stride, padding = draw(st.integers(1, 4)), draw(st.integers(0, 4))
    inputs = draw(st.integers(1, 20))
    outputs = (inputs + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1
    assume(outputs >= 1)
    return Edge(inputs, outputs, kernel, stride, dilation, padding)


def along(x: torch.Tensor, w: torch.Tensor, edge: Edge, found: Edges) -> torch.Tensor:
    """What a runtime computes along rows: zeros around, further entries, its own padding."""
    x = functional.pad(x, found.pads[0])
    w = functional.pad(w, (0, found.kernel[0] - edge.kernel))
    if found.same:
        outputs = -(-x.shape[-1] // edge.stride)
        reach = (found.kernel[0] - 1) * edge.dilation + 1
        total = max((outputs - 1) * edge.stride + reach - x.shape[-1], 0)
        x = functional.pad(x, (total // 2, total - total // 2))
    return functional.conv1d(x, w, stride=edge.stride, dilation=edge.dilation)


@settings(deadline=None)
@given(dimensions(), st.booleans())
def test_the_same_convolution(edge: Edge, by_kernel: bool) -> None:  # noqa: FBT001
    generator = torch.Generator().manual_seed(edge.inputs * 31 + edge.kernel)
    x = torch.randn(1, 1, edge.inputs, generator=generator, dtype=torch.float64)
    w = torch.randn(1, 1, edge.kernel, generator=generator, dtype=torch.float64)
    wanted = functional.conv1d(x, w, None, edge.stride, edge.before, edge.dilation)
    found = edges((edge, Edge(1, 1, 1)), by_kernel=by_kernel)
    torch.testing.assert_close(along(x, w, edge, found), wanted)


def test_nothing_is_padded_that_is_not_read() -> None:
    """A kernel of 3 at stride 2 on even rows: PyTorch's zeros behind are read by nobody."""
    found = edges((Edge(8, 4, 3, 2, 1, 1), Edge(8, 4, 3, 2, 1, 1)))
    assert found.pads == ((1, 0), (1, 0))
    assert not found.same


def test_a_kernel_of_four_pads_alike() -> None:
    found = edges((Edge(8, 4, 3, 2, 1, 1), Edge(8, 4, 3, 2, 1, 1)), by_kernel=True)
    assert found == Edges(same=True, pads=(NONE, NONE), kernel=(4, 4))


@pytest.mark.parametrize("size", [5, 8, 9])
def test_odd_kernels_at_stride_one_are_same(size: int) -> None:
    edge = Edge(size, size, 3, 1, 1, 1)
    assert edges((edge, replace(edge))).same


def test_rows_and_columns_that_differ_are_padded_beforehand() -> None:
    found = edges((Edge(9, 5, 5), Edge(9, 9, 5, before=2)))
    assert not found.same
    assert np.array_equal(found.pads, (NONE, (2, 2)))
