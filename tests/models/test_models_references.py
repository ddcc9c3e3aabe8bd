"""The networks compute what their papers' equations say, written out with plain functions.

Every reference takes the weights of a module and nothing of its `forward`: paddings, strides,
dilations, epsilons and the order of stages stand here again, as numbers. All in double precision,
with weights and statistics of both signs, so that a wrong activation or a missing term shows.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, linear, max_pool2d

from models import (
    BCResNet,
    BCResNetASC,
    CPResNet,
    DCASEBaseline,
    ResidualCNN,
    SharedResNet,
    TCResNet,
)
from models.bcresnet import NormalBlock, TemporalBranch, TransitionBlock
from models.cp_resnet import ResidualBlock
from models.layers import SubSpectralNorm
from models.residual import BasicBlock
from models.shared_resnet import SharedResidualBlock

Network = TypeVar("Network", bound=nn.Module)


def drawn(model: Network) -> Network:
    """In evaluation and double precision, nothing at its starting value."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.normal_(module.bias)
        elif isinstance(module, SubSpectralNorm) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias)
    return model.double().eval()


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def like_example(model: nn.Module) -> Tensor:
    """Two inputs of the example's size."""
    return noise(2, *model.example_input_array.shape[1:])


def batch_norm(x: Tensor, layer: nn.BatchNorm2d, eps: float = 1e-5) -> Tensor:
    scale = layer.weight / (layer.running_var + eps).sqrt()
    return (x - layer.running_mean[:, None, None]) * scale[:, None, None] + layer.bias[
        :, None, None
    ]


def relu(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def sub_spectral(x: Tensor, layer: SubSpectralNorm, bands: int) -> Tensor:
    """Band s of channel k has entry k * bands + s; a shared affine pair is the channel's."""
    found = []
    for s, band in enumerate(x.chunk(bands, dim=2)):
        mean, variance = layer.norm.running_mean[s::bands], layer.norm.running_var[s::bands]
        pair = (layer.norm.weight, layer.norm.bias)
        weight, bias = (
            (layer.weight, layer.bias) if pair[0] is None else (p[s::bands] for p in pair)
        )
        normal = (band - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None]
        found.append(normal * weight[:, None, None] + bias[:, None, None])
    return torch.cat(found, dim=2)


def residual_norm(x: Tensor, weight: float = 0.1) -> Tensor:
    """Equations 1 to 3 of the DCASE Workshop paper of 2021."""
    variance, mean = torch.var_mean(x, dim=(1, 3), unbiased=False, keepdim=True)
    return weight * x + (x - mean) / (variance + 1e-5).sqrt()


# The baselines (network summaries of the official repositories)

POOLS = {
    2020: [(5, 5), (4, 100)],
    2021: [(1, 1), (5, 5), (4, 100)],
    2022: [(1, 1), (5, 5), (4, 10)],
}
DROPPED = {
    2020: [(32, 8, 100), (64, 2, 1), (100,)],
    2021: [(16, 8, 100), (32, 2, 1), (100,)],
    2022: [(16, 8, 10), (32, 2, 1), (100,)],
}
"""Shapes that dropout sees: the pooled ones, and the dense layer's."""


def baseline(x: Tensor, model: DCASEBaseline, year: int) -> Tensor:
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    first, last = (m for m in model.modules() if isinstance(m, nn.Linear))
    for conv, norm, pool in zip(convs, norms, POOLS[year], strict=True):
        x = conv2d(x, conv.weight, conv.bias, padding=3)
        if year == 2020:  # rows are normalised, not channels
            x = batch_norm(x.transpose(1, 2), norm, 1e-3).transpose(1, 2)
        else:
            x = batch_norm(x, norm, 1e-3)
        x = max_pool2d(relu(x), pool)
    hidden = relu(linear(x.flatten(1), first.weight, first.bias))
    return linear(hidden, last.weight, last.bias)


@pytest.mark.parametrize("year", POOLS)
def test_baseline(year: int) -> None:
    model = drawn(DCASEBaseline(year))
    x = like_example(model)
    torch.testing.assert_close(model(x), baseline(x, model, year))


@pytest.mark.parametrize("year", DROPPED)
def test_baseline_trains_as_its_configuration_says(year: int) -> None:
    """Dropout of 0.3 after both poolings and the dense layer; Keras' batch normalisation."""
    model = DCASEBaseline(year).eval()
    seen: list[tuple[int, ...]] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-3, 0.01)
        if isinstance(module, nn.Dropout):
            assert module.p == 0.3
            module.register_forward_hook(lambda _, __, output: seen.append(output.shape[1:]))
    model(model.example_input_array)
    assert seen == DROPPED[year]


# The plain residual network (He et al., CVPR 2016, equations 1 and 2 and Figure 2)


def basic(x: Tensor, block: BasicBlock, stride: int) -> Tensor:
    (conv1, norm1), (conv2, norm2) = block.first, block.second
    y = relu(batch_norm(conv2d(x, conv1.weight, stride=stride, padding=1), norm1))
    y = batch_norm(conv2d(y, conv2.weight, padding=1), norm2)
    if x.shape != y.shape:
        conv, norm = block.shortcut
        x = batch_norm(conv2d(x, conv.weight, stride=stride), norm)
    return relu(y + x)


@pytest.mark.parametrize("sizes", [(3, 3, 1), (3, 5, 1), (3, 3, 2)], ids=str)
def test_basic_block(sizes: tuple[int, int, int]) -> None:
    block, x = drawn(BasicBlock(*sizes)), noise(2, sizes[0], 6, 8)
    torch.testing.assert_close(block(x), basic(x, block, sizes[2]))


def test_residual_cnn() -> None:
    model = drawn(ResidualCNN(5, (4, 6, 6), (1, 2, 1), dropout=0.4, mels=16, frames=20))
    x = like_example(model)
    conv, norm, _ = model.stem
    y = relu(batch_norm(conv2d(x, conv.weight, stride=2, padding=1), norm))
    for block, stride in zip(model.stages, (1, 2, 1, 2), strict=True):
        y = basic(y, block, stride)
    expected = linear(y.mean(dim=(2, 3)), model.classifier.weight, model.classifier.bias)
    torch.testing.assert_close(model(x), expected)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.4]


# TC-ResNet (Interspeech 2019, Figure 2)


def conv_over_time(x: Tensor, layers: nn.Sequential, stride: int = 1) -> Tensor:
    conv, norm, *_ = layers
    x = conv1d(x, conv.weight, stride=stride, padding=conv.weight.shape[2] // 2)
    return batch_norm(x[:, :, None], norm)[:, :, 0]


def test_tc_resnet() -> None:
    """Bands as channels; every block halves time, and its shortcut has a ReLU of its own."""
    model = drawn(TCResNet(5, (4, 6, 8), dropout=0.4, mels=16, frames=21))
    x = like_example(model)
    y = relu(conv_over_time(x[:, 0], model.stem))
    for block in model.blocks:
        inner = conv_over_time(relu(conv_over_time(y, block.first, 2)), block.second)
        y = relu(inner + relu(conv_over_time(y, block.shortcut, 2)))
    assert y.shape == (len(x), 8, 6)
    expected = linear(y.mean(dim=2), model.classifier.weight, model.classifier.bias)
    torch.testing.assert_close(model(x), expected)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.4]


# BC-ResNet (Interspeech 2021, equations 1 to 3 and Figure 2, Table 1)


def temporal(x: Tensor, branch: TemporalBranch, dilation: int) -> Tensor:
    """Equation 2's f1 behind the average over frequency: swish between the two convolutions."""
    x = x.sum(dim=2, keepdim=True) / x.shape[2]
    channels = x.shape[1]
    across = {"padding": (0, dilation), "dilation": (1, dilation), "groups": channels}
    x = batch_norm(conv2d(x, branch.depthwise.weight, **across), branch.norm)
    return conv2d(x * x.sigmoid(), branch.pointwise.weight)


def two_dimensional(x: Tensor, block: NormalBlock | TransitionBlock, stride: int) -> Tensor:
    """Equation 2's f2: depthwise over frequency, then SubSpectralNorm of 4 bands."""
    x = conv2d(x, block.depthwise.weight, stride=(stride, 1), padding=(1, 0), groups=x.shape[1])
    return sub_spectral(x, block.norm, 4)


def normal(x: Tensor, block: NormalBlock, dilation: int) -> Tensor:
    """Equation 2: x + f2(x) + BC(f1(avgpool(f2(x))))."""
    spectral = two_dimensional(x, block, 1)
    return relu(x + spectral + temporal(spectral, block.temporal, dilation))


def transition(x: Tensor, block: TransitionBlock, stride: int, dilation: int) -> Tensor:
    """Figure 2 (b): a 1x1 convolution, norm and ReLU in front, and no identity."""
    x = relu(batch_norm(conv2d(x, block.pointwise.weight), block.norm_in))
    spectral = two_dimensional(x, block, stride)
    return relu(spectral + temporal(spectral, block.temporal, dilation))


def stage(x: Tensor, blocks: list[nn.Module], stride: int = 1, dilation: int = 1) -> Tensor:
    first, *later = blocks
    x = transition(x, first, stride, dilation)
    for block in later:
        x = normal(x, block, dilation)
    return x


@pytest.mark.parametrize("dilation", [1, 4])
def test_temporal_branch(dilation: int) -> None:
    branch, x = drawn(TemporalBranch(5, dilation)), noise(2, 5, 8, 11)
    assert branch(x).shape == (2, 5, 1, 11)
    torch.testing.assert_close(branch(x), temporal(x, branch, dilation))


def test_temporal_branch_drops_whole_channels_at_its_end() -> None:
    """A tenth of them, in training (DCASE Workshop 2021, section 3.1)."""
    branch = drawn(TemporalBranch(50, 1)).train()
    zero = branch(noise(40, 50, 2, 6)).squeeze(2) == 0
    assert torch.equal(zero.any(dim=-1), zero.all(dim=-1))
    assert zero.double().mean().item() == pytest.approx(0.1, abs=0.03)


@pytest.mark.parametrize("dilation", [1, 4])
def test_normal_block(dilation: int) -> None:
    block, x = drawn(NormalBlock(5, 4, dilation)), noise(2, 5, 8, 11)
    torch.testing.assert_close(block(x), normal(x, block, dilation))


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 4)])
def test_transition_block(stride: int, dilation: int) -> None:
    block, x = drawn(TransitionBlock(3, 5, 4, stride, dilation)), noise(2, 3, 8, 11)
    torch.testing.assert_close(block(x), transition(x, block, stride, dilation))


def test_bcresnet() -> None:
    """Table 1: blocks, stride over frequency and dilation over time of each stage."""
    model = drawn(BCResNet(1, 3, mels=64, frames=20))
    x = like_example(model)
    conv, norm, _ = model.stem
    y = relu(batch_norm(conv2d(x, conv.weight, stride=(2, 1), padding=2), norm))
    blocks = list(model.stages)
    for count, stride, dilation in ((2, 1, 1), (2, 2, 2), (4, 2, 4), (4, 1, 8)):
        y = stage(y, blocks[:count], stride, dilation)
        del blocks[:count]
    assert not blocks
    deep, wide, norm, _, _, last = model.classifier
    y = conv2d(y, deep.weight, padding=(0, 2), groups=y.shape[1])
    y = relu(batch_norm(conv2d(y, wide.weight), norm)).mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(model(x), conv2d(y, last.weight, last.bias).flatten(1))


@pytest.mark.parametrize("inside", [False, True])
def test_bcresnet_asc(*, inside: bool) -> None:
    """Table 1 of 2021: Residual Normalization at the input and after every stage, two poolings."""
    model = drawn(BCResNetASC(4, 3, 0.1, 64, frames=20, inside=inside))
    x = like_example(model)
    conv, norm, _ = model.stem
    y = relu(batch_norm(conv2d(residual_norm(x), conv.weight, stride=2, padding=2), norm))
    stages = (model.stage1, model.stage2, model.stage3, model.stage4)
    for blocks, count, pool in zip(stages, (2, 2, 2, 3), (2, 2, 1, 1), strict=True):
        y = stage(y, list(blocks)[:count])
        y = max_pool2d(residual_norm(y) if inside else y, pool)
    y = conv2d(y, model.classifier.weight, model.classifier.bias)
    torch.testing.assert_close(model(x), y.mean(dim=(2, 3)))
    dropouts = [m.p for m in model.modules() if isinstance(m, nn.Dropout2d)]
    assert dropouts == [0.1] * 9


# CP-ResNet (its authors' configuration) and Shared-ResNet (2020 report, Table 1 and Figure 1)


def residual(x: Tensor, block: ResidualBlock, kernels: tuple[int, int]) -> Tensor:
    first, second = kernels
    y = relu(batch_norm(conv2d(x, block.conv1.weight, padding=first // 2), block.norm1))
    y = conv2d(y, block.conv2.weight, padding=second // 2)
    plain = isinstance(block.norm2, nn.BatchNorm2d)
    y = batch_norm(y, block.norm2) if plain else sub_spectral(y, block.norm2, 2)
    if x.shape[1] != y.shape[1]:
        conv, norm = block.shortcut
        x = batch_norm(conv2d(x, conv.weight), norm)
    return relu(x + y)


def repeated(x: Tensor, block: SharedResidualBlock) -> Tensor:
    """The same two convolutions every time, other norms."""
    for norm1, norm2 in zip(block.norm1, block.norm2, strict=True):
        y = relu(batch_norm(conv2d(x, block.conv1[0].weight), norm1))
        x = relu(x + batch_norm(conv2d(y, block.conv2[0].weight), norm2))
    return x


def ended(x: Tensor, classifier: nn.Sequential) -> Tensor:
    conv, norm = classifier
    return batch_norm(conv2d(x, conv.weight), norm).mean(dim=(2, 3))


@pytest.mark.parametrize("sizes", [(3, 3), (3, 5)], ids=["identity", "projection"])
@pytest.mark.parametrize("kernels", [(3, 1), (3, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, lambda c: SubSpectralNorm(c, 2, shared=True)])
def test_residual_block(sizes: tuple[int, int], kernels: tuple[int, int], norm: type) -> None:
    block, x = drawn(ResidualBlock(*sizes, kernels, norm(sizes[1]))), noise(2, sizes[0], 4, 7)
    torch.testing.assert_close(block(x), residual(x, block, kernels))


def test_cp_resnet() -> None:
    """rho = 5: 3x3 up to the first convolution of block 4; poolings after blocks 1, 2 and 4."""
    model = drawn(CPResNet(3, 5, 4, mels=40, frames=44))
    x = like_example(model)
    conv, norm, _ = model.stem
    y = relu(batch_norm(conv2d(x, conv.weight, stride=2, padding=1), norm))
    blocks = [m for m in model.modules() if isinstance(m, ResidualBlock)]
    kernels = chain([(3, 1), (3, 3), (3, 3), (3, 1)], repeat((1, 1), 8))
    for number, (block, sizes) in enumerate(zip(blocks, kernels, strict=True), 1):
        y = residual(y, block, sizes)
        y = max_pool2d(y, 2 if number in {1, 2, 4} else 1)
    torch.testing.assert_close(model(x), ended(y, model.classifier))


def test_shared_resnet() -> None:
    """Table 1 from the top; three repeats of the shared pairs at twice and four times the width."""
    model = drawn(SharedResNet(4, mels=64, frames=40))
    x = like_example(model)
    conv, norm, _ = model.stem
    y = relu(batch_norm(conv2d(x, conv.weight, stride=2, padding=2), norm))
    rb1, rb2, rb3, rb4, rb5, rb6 = (m for m in model.modules() if isinstance(m, ResidualBlock))
    srb1, srb2 = (m for m in model.modules() if isinstance(m, SharedResidualBlock))
    assert [len(srb.norm1) for srb in (srb1, srb2)] == [3, 3]
    y = max_pool2d(residual(y, rb1, (3, 1)), 2)
    y = max_pool2d(residual(y, rb2, (3, 3)), 2)
    y = residual(y, rb3, (3, 3))
    y = max_pool2d(residual(y, rb4, (3, 3)), 2)
    y = repeated(residual(y, rb5, (1, 1)), srb1)
    y = repeated(residual(y, rb6, (1, 1)), srb2)
    torch.testing.assert_close(model(x), ended(y, model.classifier))
