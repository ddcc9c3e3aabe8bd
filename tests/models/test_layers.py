"""The layers that `torch.nn` does not have, each against plain loops in double precision."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor import Budget, Prune, fit
from models import CPMobile, ResidualNorm, ResponseNorm, SharedResidualBlock, SubSpectralNorm
from models.baseline import FrequencyNorm
from models.cp_mobile import MobileBlock
from models.cp_resnet import ResidualBlock
from models.layers import SHORT


def randomised(layer: nn.Module, seed: int = 0) -> nn.Module:
    """In double precision, with no parameter or statistic at its starting value."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for tensor in (*layer.parameters(), *layer.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return layer.double()


def normalised(x: Tensor, eps: float) -> Tensor:
    return (x - x.mean()) / (x.var(unbiased=False) + eps).sqrt()


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_sub_spectral_norm_band_by_band(*, shared: bool, training: bool) -> None:
    """Band s of channel k has statistics of its own, entry k * S + s, and maybe its own affine."""
    layer = randomised(SubSpectralNorm(3, 4, shared=shared)).train(training)
    x = torch.randn(5, 3, 8, 6, dtype=torch.float64) * 3 + 1
    expected = torch.empty_like(x)
    norm = layer.norm
    for k in range(3):
        for s in range(4):
            band, entry = x[:, k, 2 * s : 2 * s + 2], 4 * k + s
            if training:
                normal = normalised(band, norm.eps)
            else:
                deviation = (norm.running_var[entry] + norm.eps).sqrt()
                normal = (band - norm.running_mean[entry]) / deviation
            weight, bias = (
                (layer.weight[k], layer.bias[k])
                if shared
                else (norm.weight[entry], norm.bias[entry])
            )
            expected[:, k, 2 * s : 2 * s + 2] = normal * weight + bias
    torch.testing.assert_close(layer(x), expected)


def test_sub_spectral_norm_parameters() -> None:
    """One pair a band, or one a channel; the names of the first are those it always had."""
    own, shared = SubSpectralNorm(6, 2), SubSpectralNorm(6, 2, shared=True)
    assert {name for name, _ in own.named_parameters()} == {"norm.weight", "norm.bias"}
    assert sum(p.numel() for p in own.parameters()) == 2 * 6 * 2
    assert {name for name, _ in shared.named_parameters()} == {"weight", "bias"}
    assert sum(p.numel() for p in shared.parameters()) == 2 * 6
    assert "shared=True" in repr(shared)


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


@pytest.mark.parametrize("learned", [False, True])
def test_residual_norm_row_by_row(*, learned: bool) -> None:
    """Biased variance, over channels and time."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64) * 2 + 1
    expected = torch.empty_like(x)
    for n in range(2):
        for f in range(4):
            expected[n, :, f] = 0.1 * x[n, :, f] + normalised(x[n, :, f], 1e-5)
    layer = ResidualNorm(0.1, learned=learned)
    if learned:
        layer.weight.data = layer.weight.data.double().fill_(0.1)  # no single-precision tenth
    torch.testing.assert_close(layer(x), expected)


def test_residual_norm_learns_its_weight() -> None:
    """The derivative by lambda is the input (equation 3); without `learned` there is none."""
    assert not list(ResidualNorm(0.1).parameters())
    torch.manual_seed(0)
    layer = ResidualNorm(0.1, learned=True).double()
    assert layer.weight.shape == ()
    x, upstream = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    layer(x).backward(upstream)
    torch.testing.assert_close(layer.weight.grad, (x * upstream).sum())
    layer.weight.data.fill_(0.5)
    torch.testing.assert_close(layer(x), ResidualNorm(0.5)(x))
    assert repr(layer) == "ResidualNorm(weight=0.5, eps=1e-05, learned=True)"


def test_residual_norm_keeps_silence_finite() -> None:
    """A constant row has variance 0."""
    out = ResidualNorm(0.1)(torch.full((1, 1, 32, 8), -3.0))
    torch.testing.assert_close(out, torch.full_like(out, -0.3))


@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("learned", [False, True])
def test_residual_norm_of_16_bits_is_that_of_32_rounded(
    dtype: torch.dtype, *, learned: bool
) -> None:
    """Also where the squares of the deviations leave float16 (above 65,504)."""
    torch.manual_seed(0)
    x = (1000 * torch.randn(2, 3, 4, 6)).to(dtype)
    layer = ResidualNorm(0.25, learned=learned).to(dtype)
    found = layer(x)
    assert found.dtype == dtype
    assert torch.equal(found, ResidualNorm(0.25)(x.float()).to(dtype))


class Unrolled(nn.Module):
    """What a SharedResidualBlock is: one layer after the other, every weight a tensor of its own.

    Table 1 of the 2020 report: N=3 Shared(1x1, BN, 1x1, BN).
    """

    def __init__(self, block: SharedResidualBlock) -> None:
        super().__init__()
        conv1, conv2 = block.conv1, block.conv2
        self.layers = nn.ModuleList(
            nn.ModuleList(
                copy.deepcopy(m)
                for m in (conv1[i % len(conv1)], block.norm1[i], conv2[i % len(conv2)], norm2)
            )
            for i, norm2 in enumerate(block.norm2)
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv1, norm1, conv2, norm2 in self.layers:
            x = (x + norm2(conv2(norm1(conv1(x)).clamp(min=0)))).clamp(min=0)
        return x


@pytest.mark.parametrize("shared", [False, True])
def test_shared_residual_block_is_the_unrolled_one(*, shared: bool) -> None:
    """In evaluation, in training, and in the gradient: a shared weight collects all repeats'."""
    block = randomised(SharedResidualBlock(4, 3, shared=shared)).eval()
    plain = Unrolled(block).eval()
    x = torch.randn(5, 4, 3, 6, dtype=torch.float64)
    torch.testing.assert_close(block(x), plain(x))
    out = block.train()(x)
    torch.testing.assert_close(out, plain.train()(x))
    upstream = torch.randn_like(out)
    out.backward(upstream)
    plain(x).backward(upstream)
    for position, convs in ((0, block.conv1), (2, block.conv2)):
        theirs = [layers[position].weight.grad for layers in plain.layers]
        expected = [sum(theirs)] if shared else theirs
        for conv, gradient in zip(convs, expected, strict=True):
            torch.testing.assert_close(conv.weight.grad, gradient)
    for i, norm in enumerate(block.norm1):
        torch.testing.assert_close(norm.weight.grad, plain.layers[i][1].weight.grad)


@pytest.mark.parametrize("channels", [(3, 3), (3, 5)], ids=["identity", "projection"])
def test_residual_block_by_its_formula(channels: tuple[int, int]) -> None:
    inputs, outputs = channels
    block = randomised(ResidualBlock(inputs, outputs, (3, 1), SubSpectralNorm(outputs, 2))).eval()
    x = torch.randn(2, inputs, 4, 5, dtype=torch.float64)
    branch = nn.functional.conv2d(x, block.conv1.weight, padding=1)
    branch = nn.functional.conv2d(block.norm1(branch).clamp(min=0), block.conv2.weight)
    short = x
    if inputs != outputs:
        conv, norm = block.shortcut
        short = norm(torch.einsum("bift,oi->boft", x, conv.weight[:, :, 0, 0]))
    expected = (block.norm2(branch) + short).clamp(min=0)
    assert expected.shape == (2, outputs, 4, 5)
    torch.testing.assert_close(block(x), expected)


def test_response_norm_channel_by_channel() -> None:
    layer = randomised(ResponseNorm(4))
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    energies = x.flatten(2).norm(dim=2)
    expected = torch.empty_like(x)
    for example in range(2):
        for channel in range(4):
            share = energies[example, channel] / (energies[example].mean() + 1e-6)
            part = x[example, channel]
            expected[example, channel] = part + layer.gamma * part * share + layer.beta
    torch.testing.assert_close(layer(x), expected)


def test_response_norm_has_a_gradient_where_a_channel_is_silent() -> None:
    layer = randomised(ResponseNorm(4))
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    x[:, 1] = 0
    layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_response_norm_takes_a_silent_channel_and_none_alike() -> None:
    """Its mean is over as many channels as there were: over those left it would be another."""
    layer = randomised(ResponseNorm(4))
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    x[:, 1] = 0
    left = [0, 2, 3]
    torch.testing.assert_close(layer(x[:, left]), layer(x)[:, left], rtol=1e-12, atol=0)


def test_channels_beside_a_response_norm_can_go() -> None:
    torch.manual_seed(0)
    model = CPMobile(5, channels=8, mels=64, frames=20)
    for norm in model.modules():
        if isinstance(norm, ResponseNorm):
            randomised(norm).float()
    result = fit(model, budget=Budget(params="40%"), schedule=[Prune()])
    (shrink,) = result.report.shrinks
    blocks = [m for m in result.model.modules() if isinstance(m, MobileBlock)]
    assert any(block.project.out_channels < block.response_norm.channels for block in blocks)
    assert shrink.difference is not None
    assert shrink.difference < 1e-9


def test_frequency_norm_row_by_row() -> None:
    """One mean and variance a row, over batch, channels and time, with Keras' epsilon."""
    layer = randomised(FrequencyNorm(4)).train()
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    before = layer.norm.running_mean.clone()
    expected = torch.empty_like(x)
    for f in range(4):
        normal = normalised(x[:, :, f], 1e-3)
        expected[:, :, f] = normal * layer.norm.weight[f] + layer.norm.bias[f]
    torch.testing.assert_close(layer(x), expected)
    after = 0.99 * before + 0.01 * x.mean(dim=(0, 1, 3))
    torch.testing.assert_close(layer.norm.running_mean, after)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SubSpectralNorm(0, 4), "channels must be at least 1"),
        (lambda: SubSpectralNorm(4, 0, shared=True), "sub_bands must be at least 1"),
        (lambda: ResidualNorm(0.1, eps=0), "eps finite and above 0"),
        (lambda: ResidualNorm(-1, learned=True), "weight must be finite and at least 0"),
        (lambda: SharedResidualBlock(4, 0), r"\(repeats=0\): repeats must be at least 1"),
    ],
)
def test_sizes_that_cannot_run_are_refused(build: object, message: str) -> None:
    """At construction, with what would work."""
    with pytest.raises(ValueError, match=message):
        build()
