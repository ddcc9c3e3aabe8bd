"""The seeds' networks have the parameters and multiply-accumulates that their papers print."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchinfo
from torch import nn
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from compressor.rules.counters import torchinfo_count
from models import (
    DSCNN,
    Autoencoder,
    BCResNet,
    BCResNetASC,
    CPMobile,
    CPResNet,
    DCASEBaseline,
    LinearMoments,
    MobileNet,
    ResidualCNN,
    ResNet8,
    SharedResNet,
    Tandem,
    TCResNet,
)

Build = Callable[[], nn.Module]


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module) -> float:
    """Counted by PyTorch on shapes alone: the biggest networks cost no time."""
    with FlopCounterMode(display=False) as counter:
        model.eval().to("meta")(model.example_input_array.to("meta"))
    return counter.get_total_flops() / 2


def by_kind(model: nn.Module) -> dict[str, int]:
    """Parameters in convolution weights and in everything else."""
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv2d))
    return {"conv": weights, "other": parameters(model) - weights}


@pytest.mark.parametrize(
    ("build", "params", "operations"),
    [
        (CPMobile, 126_952, 28_889_088),
        (CPMobile.baseline2024, 61_148, 29_416_448),
        (DSCNN, 24_908 - 1_152, 2_656_768),
        (ResNet8, 78_666 - 480, 12_501_632),
        (MobileNet, 221_794 - 5_472, 7_489_664),
        (Autoencoder, 269_992 - 2_064, 264_192),
        (BCResNet, 317_610, 181_591_936),
        (lambda: BCResNet(frames=334), 317_610, 1_783_851_136),
        (BCResNetASC, 314_970, 51_205_760),
        (lambda: BCResNetASC(frames=334), 314_970, 509_416_920),
        (lambda: BCResNetASC(10), 8_055, 1_976_020),
        (lambda: BCResNetASC(10, frames=334), 8_055, 19_562_940),
        (lambda: SharedResNet(num_classes=10), 603_668, 2_269_569_024),
        (SharedResNet, 601_862, 2_268_794_880),
        (lambda: SharedResNet(num_classes=10, shared=False), 931_348, 2_269_569_024),
        (lambda: CPResNet(num_classes=10), 898_580, 2_147_810_432),
        (CPResNet, 896_774, 2_147_111_552),
        (LinearMoments, 12_810, 12_800),
        (Tandem, 327_780, 51_218_560),
        (lambda: Tandem(192), 324_580, 38_703_360),
        (lambda: DCASEBaseline(2020), 115_219 + 96, 111_654_700),
        (lambda: DCASEBaseline(2021), 46_118, 286_637_800),
        (lambda: DCASEBaseline(2022), 46_118, 29_203_560),
        (lambda: ResidualCNN(50), 324_130, 57_049_280),
        (TCResNet, 144_276, 3_371_472),
        (lambda: TCResNet(widths=(16, 24, 32, 48)), 65_180, 1_563_264),
    ],
)
def test_exact_counts(build: Build, params: int, operations: int) -> None:
    """Convolutions and matrix products alone; a shared weight counts once, its uses each."""
    model = build()
    assert parameters(model) == params
    assert macs(model) == operations


PUBLISHED: list[tuple[Build, str]] = [
    (lambda: BCResNetASC(10), "8.1k"),  # 2021, Table 3
    (BCResNetASC, "315k"),  # 2021, Tables 2 and 3
    (BCResNet, "317k"),  # 2021, Table 2: cut off, not rounded
    (lambda: CPResNet(num_classes=10), "899k"),  # 2020, Table 3
    (CPResNet, "897k"),  # 2020, Table 4 prints 887K, and 3,588 KB = 4 x 897
    (lambda: SharedResNet(num_classes=10), "604k"),  # 2020, Table 3
    (SharedResNet, "601k"),  # 2020, Table 4: cut off, not rounded
    (LinearMoments, "12.81k"),  # 2022, Table 2
    (lambda: TCResNet(widths=(16, 24, 32, 48)), "66k"),  # 2019, Table 2: with running statistics
]


@pytest.mark.parametrize(("build", "printed"), PUBLISHED, ids=[text for _, text in PUBLISHED])
def test_published_roundings(build: Build, printed: str) -> None:
    """Rounded or cut off, a printed number is less than one unit of its last digit away."""
    digits = printed.removesuffix("k")
    unit = 1000 / 10 ** len(digits.partition(".")[2])
    assert abs(parameters(build()) - 1000 * float(digits)) < unit


def test_asc8_compressed_size() -> None:
    """89 % of the convolutions pruned, the rest in 8 bits, all else in 16: 61.0 KB of 1024."""
    model = BCResNetASC()
    assert by_kind(model) == {"conv": 300_320, "other": 14_640 + 10}
    left = pruned(model, 0.89)
    assert left == {"conv": 33_035, "other": 14_650}
    size = left["conv"] + 2 * left["other"]
    assert size == 62_335
    assert round(size / 1024, 2) == 60.87


def test_shared_resnet_pruned_size() -> None:
    """60 % of the convolutions pruned: 246K parameters, 491 KB of 1000 in half precision."""
    model = SharedResNet()
    assert by_kind(model) == {"conv": 593_792, "other": 8_070}
    left = sum(pruned(model, 0.6).values())
    assert left == 245_587
    assert abs(left - 246e3) < 1000
    assert 2 * left == 491_174


def pruned(model: nn.Module, amount: float) -> dict[str, int]:
    """Parameters left, as PyTorch's own global pruning of all convolution weights leaves them."""
    torch.manual_seed(0)
    weights = [(m, "weight") for m in model.modules() if isinstance(m, nn.Conv2d)]
    other = by_kind(model)["other"]
    prune.global_unstructured(weights, prune.L1Unstructured, amount=amount)
    return {"conv": sum(int(m.weight_mask.sum()) for m, _ in weights), "other": other}


def test_what_sharing_saves() -> None:
    """More than 30 % (2020, section 2.1), against the unshared twin and against CP-ResNet."""
    ours = parameters(SharedResNet(num_classes=10))
    twin = parameters(SharedResNet(num_classes=10, shared=False))
    assert round(100 * (1 - ours / twin), 1) == 35.2
    assert round(100 * (1 - ours / parameters(CPResNet(num_classes=10))), 1) == 32.8


def test_more_repeats_cost_norms_alone() -> None:
    """Each adds two batch normalisations of 128 and two of 256 channels."""
    more = parameters(SharedResNet(repeats=4)) - parameters(SharedResNet())
    assert more == 2 * 2 * (128 + 256)


@pytest.mark.parametrize(
    ("options", "extra"),
    [
        ({"residual_norm": None}, 0),
        ({"residual_norm": 0.0}, 0),
        ({"inside": False}, 0),
        ({"learned": True}, 5),
        ({"learned": True, "inside": False}, 1),
    ],
)
def test_variants_of_residual_normalization(options: dict[str, float], extra: int) -> None:
    """The rows of Table 3 have 8.1k parameters all; a learned weight is one more each."""
    assert parameters(BCResNetASC(10, **options)) == 8_055 + extra


def test_dcase_baseline_2020() -> None:
    """450.1 KB of 1024 without normalisation, which has 96 parameters (the README's summary)."""
    model = DCASEBaseline(2020)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [m.num_features for m in norms] == [40, 8]
    without = parameters(model) - sum(map(parameters, norms))
    assert without == 115_219
    assert round(4 * without / 1024, 1) == 450.1
    statistics = sum(v.numel() for n, v in model.named_buffers() if "running" in n)
    # What Table 4 of the 2020 report calls 116K: the summary has a head of 10 classes.
    assert parameters(model) + statistics + 7 * (100 + 1) == 116_118


def test_dcase_baseline_2021() -> None:
    """90.3 KB in half precision, running statistics included as Keras lists them."""
    model = DCASEBaseline(2021)
    statistics = sum(v.numel() for n, v in model.named_buffers() if "running" in n)
    assert (parameters(model), statistics) == (46_118, 128)
    assert round(2 * (parameters(model) + statistics) / 1024, 1) == 90.3


def test_dcase_baseline_2022() -> None:
    """46,512 bytes as int8 weights and int32 biases, normalisation folded into convolutions."""
    layers = [m for m in DCASEBaseline(2022).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sum(m.weight.numel() + 4 * m.bias.numel() for m in layers) == 46_512


@pytest.mark.parametrize(
    ("build", "params", "counted"),
    [(CPMobile, 126_952, 28_893_268), (CPMobile.baseline2024, 61_148, 29_419_156)],
)
def test_what_the_challenge_counted(build: Build, params: int, counted: int) -> None:
    """CP-Mobile as its authors print it, and the official baseline of 2024 and 2025."""
    count = torchinfo_count(build())
    assert (count.params, count.macs) == (params, counted)


@pytest.mark.parametrize(
    "build",
    [
        lambda: CPMobile(mels=32, frames=15),
        lambda: SharedResNet(4, mels=32, frames=15),
        lambda: CPResNet(4, mels=32, frames=20),
        lambda: BCResNetASC(4, mels=32, frames=12, learned=True),
        lambda: Tandem(32, 4, frames=12),
        lambda: DCASEBaseline(2020),
        lambda: DCASEBaseline(2022),
    ],
)
def test_torchinfo_agrees_with_its_rule(build: Build) -> None:
    """Shared convolutions, parameters beside modules and transposed norms included."""
    model = build()
    said = torchinfo.summary(model, input_data=[model.example_input_array], verbose=0)
    rule = torchinfo_count(model)
    assert (said.total_params, said.total_mult_adds) == (rule.params, rule.macs)
