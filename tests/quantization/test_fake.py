"""Fake quantisation against numpy, PyTorch's own operations, and formulas of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compressor.network.grid import Grid, quantised
from compressor.quantization.fake import (
    fake_quantise,
    fake_quantise_weight,
    weight_scale,
    weight_steps,
)
from compressor.quantization.layers import ActivationQuantiser, Mode, WeightQuantiser
from compressor.quantization.presets import ORT, TENSORRT

GRIDS = (ORT.signed, ORT.unsigned, TENSORRT.signed)


def oracle(x: np.ndarray, scale: float, grid: Grid) -> np.ndarray:
    """QuantizeLinear and DequantizeLinear of ONNX, opset 13, in float32."""
    steps = np.rint(x / np.float32(scale)) + grid.zero
    stored = np.clip(steps, grid.low, grid.high).astype(np.int64)
    return (stored - grid.zero).astype(np.float32) * np.float32(scale)


@given(
    st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=40),
    st.floats(2.0**-10, 0.5, width=32),
    st.sampled_from(GRIDS),
)
def test_rounds_as_onnx_does(values: list[float], scale: float, grid: Grid) -> None:
    x = np.array(values, dtype=np.float32)
    expected = oracle(x, scale, grid)
    given_scale = torch.tensor(scale)
    leaf = torch.tensor(x, requires_grad=True)
    assert np.array_equal(quantised(torch.tensor(x), given_scale, grid).numpy(), expected)
    assert np.array_equal(fake_quantise(leaf, given_scale, grid).detach().numpy(), expected)


def test_halves_go_to_even_and_by_true_division() -> None:
    """Halves tell division from multiplication by the reciprocal."""
    x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])
    assert quantised(x, torch.tensor(1.0), ORT.signed).tolist() == [0, 2, 2, 0, -2]
    steps = torch.arange(1, 256) + 0.5
    scales = torch.linspace(0.01, 0.9, 500)
    x = steps * scales[:, None]
    by_product = (x * (1 / scales[:, None])).round()
    by_division = (x / scales[:, None]).round()
    assert not torch.equal(by_product, by_division)
    ours = torch.stack(
        [quantised(r, s, Grid(0, 255, 0)) / s for r, s in zip(x, scales, strict=True)]
    )
    assert torch.equal(ours.round(), by_division.clamp(0, 255))


@given(st.integers(0, 2**31 - 1), st.floats(2.0**-7, 0.5), st.sampled_from(GRIDS))
def test_gradients_are_those_of_lsq(seed: int, scale: float, grid: Grid) -> None:
    """Equations 3 and 5, and the factor of section 2.2, entry by entry."""
    random = np.random.default_rng(seed)
    values, weights = random.normal(size=(2, 3, 4, 5)) * 3
    values.flat[:2] = np.array(grid.steps) * scale  # at the limits themselves
    x = torch.tensor(values, requires_grad=True)
    step = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    (fake_quantise(x, step, grid) * torch.tensor(weights)).sum().backward()
    (low, high), ratio = grid.steps, values / scale
    inside = (values > low * scale) & (values < high * scale)
    of_scale = np.where(inside, np.rint(ratio) - ratio, np.clip(ratio, low, high))
    expected = (weights * of_scale).sum() / np.sqrt(values.size * high)
    assert np.array_equal(x.grad.numpy(), weights * inside)
    np.testing.assert_allclose(step.grad.item(), expected, rtol=1e-9, atol=1e-9)


def test_weights_channel_by_channel() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 4, 3, 3) * torch.logspace(-6, 3, 6)[:, None, None, None]
    weight[2] = 0
    weight[3, :, 0] = 0
    scale = weight_scale(weight)
    steps = weight_steps(weight, scale)
    assert scale[2] == 1
    live = [0, 1, 3, 4, 5]
    assert steps.abs().amax(dim=(1, 2, 3))[live].tolist() == [127] * 5
    assert torch.equal(steps == 0, (weight / scale.view(-1, 1, 1, 1)).abs() <= 0.5)
    rounded = fake_quantise_weight(weight)
    assert torch.equal(rounded, steps * scale.view(-1, 1, 1, 1))
    assert torch.all(rounded[weight == 0] == 0)
    error = (rounded - weight).abs().amax(dim=(1, 2, 3))
    assert torch.all(error <= scale * 0.5001)


@given(st.integers(-149, 120), st.integers(0, 2**31 - 1))
def test_no_weight_leaves_its_range(exponent: int, seed: int) -> None:
    """-128 never occurs, down to numbers of which only a bit is left."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 8, generator=generator) * 2.0**exponent
    steps = weight_steps(weight, weight_scale(weight))
    assert steps.abs().max() <= 127


def test_the_gradient_of_a_weight_passes() -> None:
    weight = torch.randn(3, 2, requires_grad=True)
    weights = torch.randn(3, 2)
    (fake_quantise_weight(weight) * weights).sum().backward()
    assert torch.equal(weight.grad, weights)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_round_only_at_the_end(dtype: torch.dtype) -> None:
    """In bfloat16 itself 200.7 / 1.004 would already be an integer, and often another one."""
    torch.manual_seed(0)
    x = (torch.randn(1000) * 100).to(dtype)
    scale = torch.tensor(1.0039)
    expected = quantised(x.float(), scale, ORT.signed).to(dtype)
    leaf = x.clone().requires_grad_()
    got = fake_quantise(leaf, scale, ORT.signed)
    assert got.dtype == dtype
    assert torch.equal(got, expected)
    got.sum().backward()
    assert leaf.grad.dtype == dtype
    inside = (x.float() / scale > -128) & (x.float() / scale < 127)
    assert torch.equal(leaf.grad == 1, inside)


def test_a_step_under_autocast() -> None:
    torch.manual_seed(0)
    quantiser, weights = ActivationQuantiser(ORT, learned=True), WeightQuantiser()
    conv = nn.Conv2d(3, 4, 3)
    x = torch.randn(2, 3, 8, 8)
    quantiser.observe()
    with torch.autocast("cpu", torch.bfloat16):
        quantiser(nn.functional.conv2d(x, weights(conv.weight), conv.bias))
        quantiser.settle()
        y = quantiser(nn.functional.conv2d(x, weights(conv.weight), conv.bias))
    assert y.dtype == torch.bfloat16
    y.float().square().mean().backward()
    assert torch.isfinite(conv.weight.grad).all()
    assert torch.isfinite(quantiser.log_scale.grad)


def test_modes() -> None:
    x = torch.linspace(-1, 2, 301)
    quantiser = ActivationQuantiser(ORT)
    assert quantiser(x) is x
    quantiser.observe()
    assert quantiser(x) is x
    quantiser.settle()
    assert quantiser.mode is Mode.FAKE
    assert torch.equal(quantiser(x), quantised(x, quantiser.scale, ORT.signed))
    quantiser.mode = Mode.OFF
    assert quantiser(x) is x
    weights = WeightQuantiser()
    assert not torch.equal(weights(x.view(1, -1)), x.view(1, -1))
    weights.mode = Mode.OFF
    assert torch.equal(weights(x), x)


@pytest.mark.parametrize("learned", [False, True])
def test_state_dict_carries_mode_and_grid(*, learned: bool) -> None:
    quantiser = ActivationQuantiser(ORT, learned=learned)
    quantiser.observe()
    quantiser(torch.rand(1000))
    quantiser.settle()
    assert quantiser.grid == ORT.unsigned
    twin = ActivationQuantiser(ORT, learned=learned)
    twin.load_state_dict(quantiser.state_dict())
    assert (twin.mode, twin.grid) == (Mode.FAKE, ORT.unsigned)
    x = torch.randn(1000)
    assert torch.equal(twin(x), quantiser(x))


def test_settle_needs_values() -> None:
    with pytest.raises(ValueError, match=r"after observe"):
        ActivationQuantiser(ORT).settle()


@pytest.mark.parametrize(
    "numbers", [(-129, 127, 0), (0, 256, 0), (-1, 200, 0), (0, 255, 300), (5, 4, 5)]
)
def test_a_grid_of_eight_bits(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"must lie within"):
        Grid(*numbers)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cuda_rounds_as_the_cpu_does(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(4, 8, 20, 30) * 3).to(dtype), torch.randn(8, 4, 3, 3)
    scale = torch.tensor(0.0213)
    found = []
    for device in ("cpu", "cuda"):
        leaf = x.to(device).requires_grad_()
        y = fake_quantise(leaf, scale.to(device), ORT.signed)
        y.sum().backward()
        found.append((y.cpu(), leaf.grad.cpu(), fake_quantise_weight(weight.to(device)).cpu()))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
