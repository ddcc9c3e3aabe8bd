"""Histograms that grow, against counting anew; scales, against trying them on the values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compressor.network.grid import Grid, quantised
from compressor.quantization.histogram import BINS, FRACTIONS, Histogram
from compressor.quantization.presets import ORT


def filled(*batches: Tensor) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram(batch)
    return histogram


def error(x: Tensor, scale: float, grid: Grid) -> float:
    """Mean squared error over the entries that are not zero."""
    live = x[x != 0].double()
    return float((quantised(live, torch.tensor(scale), grid) - live).square().mean())


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=6), st.integers(0, 2**31 - 1))
def test_merged_bins_are_exact(exponents: list[float], seed: int) -> None:
    """Whatever came in whatever order: the counts are those of the final bins."""
    random = np.random.default_rng(seed)
    batches = [(random.normal(size=200) * 2.0**e).astype(np.float32) for e in exponents]
    histogram = filled(*map(torch.tensor, batches))
    values = np.abs(np.concatenate(batches))
    top = float(histogram.top)
    first = np.abs(batches[0]).max()
    assert top >= values.max() / (1 + 1e-6)
    assert np.log2(top / first) == round(np.log2(top / first))  # doubled, and not too often
    assert top < 2 * values.max() * (1 + 1e-6) or top == first
    edges = np.float32(BINS / top)
    place = np.clip((values * edges).astype(np.int64), 0, BINS - 1)
    # A float32 product may round across an edge before merging and not after: one bin, rarely.
    counts = np.bincount(place, minlength=BINS)
    assert np.abs(np.cumsum(counts) - np.cumsum(histogram.counts.numpy())).max() <= 1
    assert histogram.counts.sum() == values.size
    assert histogram.largest == values.max()


def test_zeros_are_not_counted_and_signs_are_seen() -> None:
    histogram = filled(torch.tensor([0.0, 0.0, 1.0, 3.0]))
    assert histogram.counts.sum() == 2
    assert not histogram.signed
    assert not filled(torch.zeros(3)).signed
    histogram(torch.tensor([-1e-6]))
    assert histogram.signed


@pytest.mark.parametrize("grid", [Grid(-127, 127, 0), ORT.unsigned])
@pytest.mark.parametrize("shape", ["normal", "laplace", "outlier", "even"])
def test_error_is_that_of_the_values(grid: Grid, shape: str) -> None:
    """Computed from 2,048 counts, it is that of 100,000 values; and the best is the best."""
    torch.manual_seed(0)
    x = {
        "normal": torch.randn(100_000),
        "laplace": torch.distributions.Laplace(0, 1).sample((100_000,)),
        "outlier": torch.cat([torch.randn(99_999), torch.tensor([40.0])]),
        "even": torch.rand(100_000) * 2 - 1,
    }[shape]
    x = x.abs() if grid == ORT.unsigned else x
    histogram = filled(*x.split(10_000))
    high = grid.steps[1]
    limits = 10 ** torch.linspace(-1, 0, FRACTIONS, dtype=torch.float64)
    scales = limits * float(x.abs().max()) / high
    told = histogram.errors(scales, high)
    measured = torch.tensor([error(x, float(s), grid) for s in scales], dtype=torch.float64)
    torch.testing.assert_close(told, measured, rtol=0.1, atol=0)
    chosen = error(x, float(histogram.scale(high)), grid)
    assert chosen <= 1.02 * float(measured.min())


def test_values_on_a_grid_keep_their_range() -> None:
    """Uniform values lose by any limit: the scale is the largest value's."""
    x = torch.linspace(-1, 1, 100_001)
    assert filled(x).scale(127) == pytest.approx(1 / 127, rel=1e-6)


def test_nothing_but_zeros() -> None:
    assert filled(torch.zeros(10)).scale(127) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    histogram = filled(torch.tensor([1.0, bad]), torch.ones(2))
    with pytest.raises(ValueError, match=r"Calibrate a trained network"):
        histogram.scale(127)


def test_goes_on_where_it_was() -> None:
    """Bit for bit, from its buffers alone."""
    torch.manual_seed(0)
    batches = [torch.randn(1000) * 3**k for k in range(4)]
    whole, half, rest = filled(*batches), filled(*batches[:2]), Histogram()
    rest.load_state_dict(half.state_dict())
    for batch in batches[2:]:
        rest(batch)
    for name, buffer in whole.named_buffers():
        assert torch.equal(buffer, rest.get_buffer(name))


def test_sixteen_bits_come_in() -> None:
    x = torch.randn(1000).bfloat16()
    assert torch.equal(filled(x).counts, filled(x.float()).counts)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_a_gpu() -> None:
    x = torch.randn(10_000) * 5
    histogram = Histogram().cuda()
    histogram(x.cuda())
    torch.testing.assert_close(histogram.scale(127).cpu(), filled(x).scale(127))
