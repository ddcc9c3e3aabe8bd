"""The reference networks are what they claim: published sizes, running and deterministic."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.zoo import FAMILIES, PUBLISHED, TRICKY
from tests.zoo.audio import CRNN, DSCNN, M5, ConvAttention, UNet
from tests.zoo.mobile import MobileNetV2, mobilenet_v3_small
from tests.zoo.plain import VGG11BN, DenseNet
from tests.zoo.resnets import ConvNeXt, resnet18, resnext50
from tests.zoo.scene_resnets import SubSpectralNorm, cp_resnet, shared_resnet
from tests.zoo.shuffle import ShuffleNetV1, channel_shuffle

if TYPE_CHECKING:
    from collections.abc import Callable

# Published multiply-adds of one image (224 x 224; 299 x 299 for Inception-V3), in thousands of a
# billion, rounded.
PUBLISHED_MMACS = {
    "resnet18": 1814,
    "resnet50": 4089,
    "resnext50_32x4d": 4230,
    "regnet_x_400mf": 414,
    "regnet_y_400mf": 402,
    "convnext_tiny": 4456,
    "mobilenet_v2": 301,
    "mobilenet_v3_small": 57,
    "mobilenet_v3_large": 217,
    "efficientnet_b0": 386,
    "mnasnet1_0": 314,
    "shufflenet_v1_g3": 137,
    "shufflenet_v2_x1_0": 145,
    "googlenet": 1498,
    "inception_v3": 5713,
    "densenet121": 2834,
    "vgg11_bn": 7609,
    "squeezenet1_1": 349,
}
AUDIO_CLASSES = {
    "ds_cnn": 12,
    "m5": 10,
    "crnn": 10,
    "conv_attention": 10,
    "unet": 4,
    "cp_resnet": 10,
    "shared_resnet": 10,
}
HUGE = {"vgg11_bn"}  # half a gigabyte: built without storage, or light

NARROW: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (lambda: resnet18(width=8, num_classes=7, size=32), 7),
    "resnext50": (lambda: resnext50(width=16, num_classes=7, size=32), 7),
    "convnext": (lambda: ConvNeXt((1, 1, 1, 1), width=8, num_classes=7, size=32), 7),
    "mobilenet_v2": (lambda: MobileNetV2(width=0.25, num_classes=7, size=32), 7),
    "mobilenet_v3_small": (lambda: mobilenet_v3_small(width=0.5, num_classes=7, size=32), 7),
    "densenet": (lambda: DenseNet((2, 2), growth=4, num_classes=7, size=32), 7),
    "shufflenet_v1": (lambda: ShuffleNetV1(widths=(48, 96, 192), num_classes=7, size=32), 7),
    "vgg11_bn_light": (lambda: VGG11BN(light=True, num_classes=7), 7),
    "ds_cnn": (lambda: DSCNN(width=8, num_classes=7), 7),
    "m5": (lambda: M5(width=8, num_classes=7), 7),
    "crnn": (lambda: CRNN(width=4, num_classes=7, bands=16, frames=8), 7),
    "conv_attention": (lambda: ConvAttention(width=4, heads=2, num_classes=7), 7),
    "unet": (lambda: UNet(width=4, num_classes=7, bands=16, frames=8), 7),
    "cp_resnet": (lambda: cp_resnet(width=8, num_classes=7), 7),
    "shared_resnet": (lambda: shared_resnet(width=8, repeats=2, num_classes=7), 7),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def example_of(model: nn.Module) -> tuple[Tensor, ...]:
    example = model.example_input_array
    return example if isinstance(example, tuple) else (cast("Tensor", example),)


def outputs_of(model: nn.Module) -> tuple[Tensor, ...]:
    with torch.no_grad():
        outputs = model(*example_of(model))
    return outputs if isinstance(outputs, tuple) else (outputs,)


def macs(build: Callable[[], nn.Module], *shape: int) -> int:
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build().eval()(torch.empty(shape))
    return counter.get_total_flops() // 2


def assert_runs(model: nn.Module) -> tuple[Tensor, ...]:
    """Finite, equal when run twice, and no buffer moves."""
    model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = outputs_of(model), outputs_of(model)
    assert all(output.isfinite().all() for output in first)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    return first


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        assert parameters(FAMILIES[name]()) == PUBLISHED[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED_MMACS)
def test_multiply_adds_are_the_published_ones(name: str) -> None:
    side = 299 if name == "inception_v3" else 224
    counted = macs(FAMILIES[name], 1, 3, side, side)
    assert round(counted / 1e6) == PUBLISHED_MMACS[name]


def test_multiply_adds_exactly() -> None:
    assert macs(resnet18, 1, 3, 224, 224) == 1_814_073_344
    # Ten seconds of 256 mel bands (431 frames), stereo.
    assert macs(cp_resnet, 1, 2, 256, 431) == 2_147_810_432
    assert macs(shared_resnet, 1, 2, 256, 431) == 2_269_569_024


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - HUGE))
def test_family_runs(name: str) -> None:
    model = FAMILIES[name]()
    (example,) = example_of(model)
    assert example.shape[-1] <= 75 or example.dim() == 3
    (output,) = assert_runs(model)
    assert output.shape[:2] == (1, AUDIO_CLASSES.get(name, 1000))


@pytest.mark.parametrize("name", NARROW)
def test_narrow_family_runs_and_has_the_classes_asked_for(name: str) -> None:
    build, classes = NARROW[name]
    model = build()
    (output,) = assert_runs(model)
    assert output.shape[:2] == (1, classes)
    if name in FAMILIES:
        with torch.device("meta"):
            assert parameters(model) < parameters(FAMILIES[name]()) / 2


@pytest.mark.parametrize("name", TRICKY)
def test_tricky_network_runs_and_is_small(name: str) -> None:
    model = TRICKY[name]()
    assert parameters(model) < 10_000
    assert all(example.numel() <= 3 * 16 * 16 for example in example_of(model))
    outputs = assert_runs(model)
    assert all(output.std() > 0 for output in outputs)


@pytest.mark.parametrize("name", TRICKY)
def test_tricky_network_depends_on_its_input(name: str) -> None:
    model = TRICKY[name]().eval()
    shown = tuple(example.clone().requires_grad_() for example in example_of(model))
    outputs = model(*shown)
    (outputs[0] if isinstance(outputs, tuple) else outputs).square().sum().backward()
    assert all(example.grad is not None and example.grad.abs().sum() > 0 for example in shown)


def test_building_touches_no_random_state_for_the_example() -> None:
    small = resnet18(width=8, size=32).state_dict()
    torch.manual_seed(0)
    large = resnet18(width=8, size=64).state_dict()
    assert all(torch.equal(tensor, large[name]) for name, tensor in small.items())


def test_channel_shuffle_deals_channels_out() -> None:
    x = torch.arange(12.0).view(1, 12, 1, 1)
    dealt = [group * 4 + index for index in range(4) for group in range(3)]
    assert channel_shuffle(x, 3).flatten().tolist() == dealt


def test_sub_spectral_norm_normalises_each_band_on_its_own() -> None:
    norm, x = SubSpectralNorm(3, bands=2), torch.randn(4, 3, 8, 5)
    with torch.no_grad():
        norm.weight[:, 0, 0] = torch.tensor([1.0, 2.0, 3.0])
        norm.bias[:, 0, 0] = torch.tensor([0.5, 0.0, -0.5])
        out = norm(x)
    for channel in range(3):
        for rows in (slice(0, 4), slice(4, 8)):
            band = x[:, channel, rows]
            expected = (band - band.mean()) / (band.var(correction=0) + 1e-5).sqrt()
            expected = expected * (channel + 1) + 0.5 - 0.5 * channel
            torch.testing.assert_close(out[:, channel, rows], expected)


def test_shared_blocks_hold_their_convolutions_once() -> None:
    with torch.device("meta"):
        once, thrice = shared_resnet(repeats=1), shared_resnet(repeats=3)
    # Two more repeats: two norms each, of 2 x 128 and of 2 x 256 numbers.
    assert parameters(thrice) - parameters(once) == 2 * 2 * (2 * 128 + 2 * 256)


def test_tied_parameter_is_one_tensor() -> None:
    weights = dict(TRICKY["tied_parameter"]().named_parameters(remove_duplicate=False))
    assert weights["trap.first.weight"] is weights["trap.second.weight"]
