"""The networks: published counts, the layers' laws, export, and errors on sizes that cannot run."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models import BCResNet, BCResNetASC, ResidualCNN, ResidualNorm, SubSpectralNorm


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def macs(model: nn.Module) -> float:
    with FlopCounterMode(display=False) as counter:
        model.eval()(model.example_input_array)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("model", "count", "operations"),
    [
        (BCResNet(), 317_610, 181_591_936),
        (BCResNetASC(), 314_970, 51_205_760),
        (BCResNetASC(10), 8_055, 1_976_020),
    ],
    ids=["BC-ResNet-8", "ASC-8", "ASC-1"],
)
def test_published_counts(model: nn.Module, count: int, operations: int) -> None:
    """The integers behind 317k, 315k and 8.1k, and convolution MACs of one second."""
    assert tuple(model.example_input_array.shape) == (1, 1, 256, 34)
    assert parameters(model) == count
    assert macs(model) == operations


def test_asc8_counts_by_kind() -> None:
    """300,320 convolution weights and 14,640 norm terms, as the 2021 paper's sizes imply."""
    by_kind = {"conv": 0, "norm": 0}
    for module in BCResNetASC().modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if isinstance(module, nn.BatchNorm2d):
            by_kind["norm"] += own
        elif isinstance(module, nn.Conv2d):
            by_kind["conv"] += module.weight.numel()
    assert by_kind == {"conv": 300_320, "norm": 14_640}


def test_residual_cnn_is_above_both_caps() -> None:
    """At its default size 128,000 parameters and 30 million MACs both bind."""
    model = ResidualCNN(num_classes=50)
    assert parameters(model) == 324_130
    assert macs(model) == 57_049_280


@pytest.mark.parametrize(
    "model",
    [
        BCResNet(1, mels=64, frames=20),
        BCResNetASC(10, mels=64, frames=126),
        ResidualCNN(5, widths=(4, 6), blocks=(1, 2)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_exports_for_any_batch_and_agrees(model: nn.Module) -> None:
    """`torch.export` sees the same function, at another batch size than the example's."""
    example = model.eval().example_input_array
    x = torch.randn(2, *example.shape[1:])
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(model, (x,), dynamic_shapes=shapes)
    more = torch.randn(3, *example.shape[1:])
    torch.testing.assert_close(program.module()(more), model(more))


@pytest.mark.parametrize(
    "model", [BCResNet(1), BCResNetASC(2), ResidualCNN()], ids=lambda model: type(model).__name__
)
def test_example_input_is_neither_parameter_nor_buffer(model: nn.Module) -> None:
    """It must not be counted, saved or moved."""
    assert not any("example" in name for name in model.state_dict())
    assert tuple(model.eval()(model.example_input_array).shape) == (1, 10)


@pytest.mark.parametrize("model", [BCResNet(1), BCResNetASC(4)], ids=["BC-ResNet-1", "ASC"])
def test_every_parameter_learns(model: nn.Module) -> None:
    """No branch is cut off from the loss."""
    torch.manual_seed(0)
    x = torch.randn(4, *model.example_input_array.shape[1:])
    model.train()(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_sub_spectral_norm_is_a_batch_norm_of_every_band() -> None:
    """Band s of channel k is normalised and scaled by entry k * S + s alone."""
    torch.manual_seed(0)
    layer = SubSpectralNorm(3, 4).double()
    nn.init.normal_(layer.norm.weight)
    nn.init.normal_(layer.norm.bias)
    x = torch.randn(5, 3, 8, 6, dtype=torch.float64) * 3 + 1
    out = layer(x)
    for k in range(3):
        for s in range(4):
            band = x[:, k, 2 * s : 2 * s + 2]
            normal = (band - band.mean()) / (band.var(unbiased=False) + layer.norm.eps).sqrt()
            entry = 4 * k + s
            expected = normal * layer.norm.weight[entry] + layer.norm.bias[entry]
            torch.testing.assert_close(out[:, k, 2 * s : 2 * s + 2], expected)


def test_sub_spectral_norm_follows_its_input_after_channels_went() -> None:
    """Removing a channel's rows from the inner norm is all that is needed."""
    torch.manual_seed(0)
    layer = SubSpectralNorm(3, 2).eval()
    norm = layer.norm
    for entry in (norm.weight.data, norm.bias.data, norm.running_mean):
        entry.normal_()
    x = torch.randn(2, 3, 4, 5)
    before = layer(x)[:, [0, 2]]
    smaller = nn.BatchNorm2d(4).eval()
    rows = [0, 1, 4, 5]
    smaller.load_state_dict({k: v[rows] if v.ndim else v for k, v in norm.state_dict().items()})
    layer.norm = smaller
    torch.testing.assert_close(layer(x[:, [0, 2]]), before)


@settings(max_examples=30, deadline=None)
@given(
    gain=st.floats(0.1, 10), shift=st.floats(-5, 5), weight=st.floats(0, 1), seed=st.integers(0, 99)
)
def test_residual_norm_hears_a_device_only_through_its_shortcut(
    gain: float, shift: float, weight: float, seed: int
) -> None:
    """A gain and an offset of each row change `weight * x` and nothing else (equations 1 to 3)."""
    torch.manual_seed(seed)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    row = torch.randn(1, 1, 4, 1, dtype=torch.float64)
    heard = x * gain * row.exp() + shift * row
    layer = ResidualNorm(weight, eps=1e-12)
    torch.testing.assert_close(
        layer(heard) - weight * heard, layer(x) - weight * x, rtol=1e-5, atol=1e-6
    )


def test_residual_norm_by_its_formula() -> None:
    """Biased variance, over channels and time."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64) * 2 + 1
    expected = torch.empty_like(x)
    for n in range(2):
        for f in range(4):
            row = x[n, :, f]
            scale = (row.var(unbiased=False) + 1e-5).sqrt()
            expected[n, :, f] = 0.1 * row + (row - row.mean()) / scale
    torch.testing.assert_close(ResidualNorm(0.1)(x), expected)


def test_residual_norm_keeps_silence_finite() -> None:
    """A constant row has variance 0."""
    out = ResidualNorm(0.1)(torch.full((1, 1, 32, 8), -3.0))
    torch.testing.assert_close(out, torch.full_like(out, -0.3))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: BCResNetASC(mels=40), "multiple of 32: 32 or 64 would work"),
        (lambda: BCResNetASC(mels=250), "multiple of 32: 224 or 256 would work"),
        (lambda: BCResNetASC(frames=6), "at least 7 frames"),
        (lambda: BCResNetASC(11), "channels must be even"),
        (lambda: BCResNetASC(0), "channels must be even and at least 2"),
        (lambda: BCResNetASC(residual_norm=-1), "weight must be finite and at least 0"),
        (lambda: BCResNet(num_classes=0), "at least one class"),
        (lambda: BCResNet(0.3), "multiple of 0.25"),
        (lambda: BCResNet(sub_bands=5, mels=256), "multiple of 40: 240 or 280 would work"),
        (lambda: BCResNet(sub_bands=0), "at least one sub-band"),
        (lambda: BCResNet(mels=32), "mels must be at least 40"),
        (lambda: ResidualCNN(widths=(8, 16)), "got 2 and 4"),
        (lambda: ResidualCNN(blocks=(1, 1, 1, 0)), "every size must be at least 1"),
        (lambda: SubSpectralNorm(0, 4), "both must be at least 1"),
        (lambda: ResidualNorm(0.1, eps=0), "eps finite and above 0"),
    ],
)
def test_sizes_that_cannot_run_are_refused(build: object, message: str) -> None:
    """At construction, with what would work."""
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("frames", [7, 8, 15])
def test_asc_runs_at_its_least_frames(frames: int) -> None:
    """The bound that the constructor states is the true one."""
    model = BCResNetASC(2, mels=32, frames=frames).eval()
    assert model(model.example_input_array).isfinite().all()
