"""The rules of DCASE Task 1 reproduce the numbers that were published under them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from compressor.budget import Budget, Cost
from compressor.counting.measuring import measure
from compressor.errors import BudgetError, CountError
from compressor.rules import (
    DCASE2020,
    DCASE2021,
    DCASE2022,
    DCASE2022_TFLITE,
    DCASE2023,
    DCASE2024,
    DCASE2025,
    RULES,
    Rule,
    folded,
    of_year,
)
from compressor.rules.counters import torchinfo_count
from tests.zoo import shared_resnet

SECOND = torch.zeros(1, 1, 256, 65)  # one second as the 2024 baseline reads it


def official_baseline(
    widths: tuple[int, ...], pool: tuple[int, int], classes: int, frames: int
) -> nn.Module:
    """The baselines of 2020 (two convolutions), 2021 and 2022 (three), on 40 mel bands."""
    layers: list[nn.Module] = []
    for index, (before, width) in enumerate(zip((1, *widths), widths, strict=False)):
        layers += [nn.Conv2d(before, width, 7, padding=3), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.MaxPool2d(5)] if index == len(widths) - 2 else []
    layers += [nn.MaxPool2d(pool), nn.Flatten(), nn.Linear(2 * widths[-1], 100), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(100, classes))
    model.example_input_array = torch.zeros(1, 1, 40, frames)
    return without_zeros(model)


def without_zeros(model: nn.Module) -> nn.Module:
    """As after training: no parameter and no running mean is exactly zero."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor[tensor == 0] = 1
    return model


def rounded(width: float) -> int:
    """The nearest multiple of eight, at least eight and never under nine tenths."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * width else nearest


def step(
    before: int, after: int, size: int, stride: int | tuple[int, int] = 1, groups: int = 1
) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(after)]


class Bottleneck(nn.Module):
    """Expand, filter depthwise, project; a shortcut where the width stays."""

    def __init__(
        self, before: int, after: int, expansion: float, stride: int | tuple[int, int]
    ) -> None:
        super().__init__()
        wide = rounded(before * expansion)
        expand, depthwise = step(before, wide, 1), step(wide, wide, 3, stride, wide)
        project = step(wide, after, 1)
        self.body = nn.Sequential(*expand, nn.ReLU(), *depthwise, nn.ReLU(), *project)
        self.same = before == after
        self.shortcut = nn.Identity() if stride == 1 else nn.AvgPool2d(3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return (y + self.shortcut(x) if self.same else y).relu()


def cp_mobile(multiplier: float, expansion: float) -> nn.Module:
    """CP-Mobile without response normalisation; (1.8, 2.1) is the baseline of 2024 and 2025."""
    widths = [32, *(rounded(32 * multiplier**stage) for stage in range(3))]
    layers = [*step(1, 8, 3, 2), nn.ReLU(), *step(8, 32, 3, 2), nn.ReLU()]
    blocks = [(1, 1), (1, 1), (1, (1, 2)), (2, (2, 1)), (2, 1), (3, 1)]
    before = widths[0]
    for stage, stride in blocks:
        layers.append(Bottleneck(before, widths[stage], expansion, stride))
        before = widths[stage]
    head = [*step(before, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, *head)
    model.example_input_array = SECOND
    return without_zeros(model)


class TestPublishedNumbers:
    """Each line of the table in docs/counting.md, counted again."""

    def test_2020_baseline(self) -> None:
        model = official_baseline((32, 64), (4, 100), 3, 500)
        cost = DCASE2020.count(model)
        assert cost.params == cost.nonzero == 115_219
        assert round(cost.bytes / DCASE2020.kilobyte, 1) == 450.1
        assert DCASE2020.check(model).met

    def test_2020_shared_resnet(self) -> None:
        """60 % of the convolution weights pruned, half precision: published as 246K and 491KB.

        Its authors counted the norms, which the official calculator left out.
        """
        model = without_zeros(shared_resnet(num_classes=3))
        convolutions = [(m, "weight") for m in model.modules() if isinstance(m, nn.Conv2d)]
        prune.global_unstructured(convolutions, prune.L1Unstructured, amount=0.6)
        for module, name in convolutions:
            prune.remove(module, name)
        model, example = model.half(), torch.zeros(1, 2, 32, 32, dtype=torch.float16)
        theirs = replace(DCASE2020, norm_affine=True, kilobyte=1000).count(model, example)
        assert (theirs.nonzero, theirs.bytes) == (245_587, 491_174)

    def test_2021_baseline(self) -> None:
        """90.82 KB: half precision, BatchNorm and its statistics in single."""
        model = official_baseline((16, 16, 32), (4, 100), 10, 500)
        assert DCASE2021.count(model).nonzero == 46_246
        for module in model:
            if not isinstance(module, nn.BatchNorm2d):
                module.half()
        verdict = DCASE2021.check(model, torch.zeros(1, 1, 40, 500, dtype=torch.float16))
        assert verdict.cost.bytes == 93_004
        assert "93,004 of 131,072 bytes (90.82 of 128 KB of 1024 bytes)" in str(verdict)
        assert verdict.met

    def test_2022_baseline(self) -> None:
        model = official_baseline((16, 16, 32), (4, 10), 10, 51)
        tflite = DCASE2022_TFLITE.count(model)
        assert (tflite.params, tflite.bytes) == (45_990, 46_512)
        assert tflite.macs == measure(model).macs == 29_203_560
        nessi = DCASE2022.count(model)
        assert (nessi.params, nessi.macs) == (46_118, 29_271_638)
        # NeSsi's TFLite path adds the pooling and halves the first dense layer.
        assert tflite.macs + 32_000 + 2_560 - 3_200 == 29_234_920

    def test_2022_linear_model(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(5 * 256, 10))
        cost = DCASE2022.count(model, torch.zeros(1, 5, 256))
        assert (cost.params, cost.macs) == (12_810, 12_810)

    def test_2024_baseline(self) -> None:
        model = cp_mobile(1.8, 2.1)
        for rule in (DCASE2024, DCASE2025):
            cost = rule.count(model.float(), SECOND)
            assert (cost.params, cost.macs) == (61_148, 29_419_156)
            verdict = rule.check(model.half(), SECOND.half())
            assert verdict.cost.bytes == 122_296
            assert verdict.met

    def test_2024_baseline_folded_is_over_the_limit(self) -> None:
        model = cp_mobile(1.8, 2.1)
        verdict = replace(DCASE2024, folded=True, weight_bits=16).check(model)
        assert (verdict.cost.params, verdict.cost.macs) == (59_794, 30_216_768)
        assert not verdict.met
        assert "30,216,768 of 30,000,000 macs" in str(verdict)
        assert str(verdict).endswith("exceeds the rule")

    def test_2024_baseline_masked_is_no_smaller(self) -> None:
        """torchinfo takes a mask for a smaller network; the rule must not."""
        model = cp_mobile(1.8, 2.1)
        convolutions = [(m, "weight") for m in model.modules() if isinstance(m, nn.Conv2d)]
        prune.global_unstructured(convolutions, prune.L1Unstructured, amount=0.6)
        assert torchinfo_count(model).params == 26_084
        assert torchinfo_count(model).macs < 15_000_000
        cost = DCASE2024.count(model)
        assert (cost.params, cost.nonzero, cost.macs) == (61_148, 26_084, 29_419_156)


def flags_example() -> nn.Module:
    """36 + 4 convolution, 8 BatchNorm with 8 statistics, 40 + 5 linear; 3 zeros each."""
    model = without_zeros(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    )
    with torch.no_grad():
        for tensor in (*model.parameters(), *(b for b in model.buffers() if b.dim())):
            tensor[tuple([0] * (tensor.dim() - 1))][..., :1] = 0
    model.example_input_array = torch.zeros(1, 1, 4, 4)
    return model


PLAIN = Rule(year=1, source="", note="", zeros=True)
WEIGHTS, BIASES, AFFINE, STATISTICS = 36 + 80, 4 + 5, 8, 8


@pytest.mark.parametrize(
    ("flags", "params", "nonzero", "size"),
    [
        ({}, WEIGHTS + BIASES + AFFINE, 127, 4 * 133),
        ({"zeros": False}, 133, 127, 4 * 127),
        ({"biases": False}, WEIGHTS + AFFINE, 120, 4 * 124),
        ({"norm_affine": False}, WEIGHTS + BIASES, 121, 4 * 125),
        ({"norm_statistics": True}, 133 + STATISTICS, 133, 4 * 141),
        ({"weight_bits": 8}, 133, 127, WEIGHTS + AFFINE + 4 * BIASES),
        ({"weight_bits": 8, "bias_bits": 8}, 133, 127, 133),
        ({"weight_bits": 1, "bias_bits": 1}, 133, 127, 17),  # a byte begun is a byte
        ({"index_bits": 8}, 133, 127, 4 * 133 + 127),
        ({"folded": True}, WEIGHTS + BIASES, None, 4 * 125),
    ],
    ids=lambda value: "-".join(value) or "plain" if isinstance(value, dict) else "",
)
def test_every_flag(
    flags: dict[str, bool | int], params: int, nonzero: int | None, size: int
) -> None:
    cost = replace(PLAIN, **flags).count(flags_example())  # pyright: ignore[reportArgumentType]
    assert (cost.params, cost.bytes) == (params, size)
    assert nonzero is None or cost.nonzero == nonzero


def test_macs_by_either_convention() -> None:
    model = flags_example()
    assert PLAIN.count(model).macs == measure(model).macs == 36 * 4 + 80
    assert replace(PLAIN, torchinfo_macs=True).count(model).macs == 40 * 4 + 8 + 85


def test_without_flags_a_rule_is_measure() -> None:
    model = flags_example()
    assert PLAIN.count(model) == measure(model)


class TestFolding:
    @pytest.mark.parametrize(
        ("layers", "shape"),
        [
            ([nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)], (2, 9)),
            ([nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4), nn.ReLU()], (2, 9, 9)),
            ([nn.ConvTranspose2d(2, 4, 3), nn.BatchNorm2d(4)], (2, 5, 5)),
            ([nn.Flatten(), nn.Linear(8, 4), nn.BatchNorm1d(4)], (2, 2, 2)),
        ],
        ids=["1d", "grouped", "transposed", "linear"],
    )
    def test_outputs_stay(self, layers: list[nn.Module], shape: tuple[int, ...]) -> None:
        model = nn.Sequential(*layers).train()
        model(torch.randn(64, *shape))  # running statistics that are not the neutral ones
        x = torch.randn(3, *shape)
        fused = folded(model, x)
        assert not [m for m in fused.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        torch.testing.assert_close(fused(x), model.eval()(x), rtol=1e-4, atol=1e-5)

    def test_what_follows_no_layer_stays(self) -> None:
        model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
        assert str(folded(model, torch.randn(1, 2, 5, 5))) == str(model)

    def test_a_shared_layer_stays(self) -> None:
        conv = nn.Conv2d(2, 2, 1)
        model = nn.Sequential(conv, nn.BatchNorm2d(2), conv, nn.BatchNorm2d(2))
        assert str(folded(model, torch.randn(1, 2, 5, 5))) == str(model)

    def test_a_layer_read_twice_is_refused(self) -> None:
        class Both(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
                nn.init.constant_(self.norm.weight, 3)

            def forward(self, x: Tensor) -> Tensor:
                y = self.conv(x)
                return y + self.norm(y)

        with pytest.raises(CountError, match=r"Both cannot be folded.*before its BatchNorm"):
            folded(Both(), torch.randn(1, 1, 5, 5))


class TestCaps:
    @pytest.mark.parametrize(
        ("year", "budget"),
        [
            (2020, Budget(bytes="500 KiB")),
            (2021, Budget(bytes="128KiB")),
            (2022, Budget(params="128k", macs="30M")),
            (2023, Budget(params="128k", macs="30M")),
            (2024, Budget(bytes="128 KB", macs="30M")),
            (2025, Budget(bytes=128_000, macs="30M")),
        ],
    )
    def test_of_every_year(self, year: int, budget: Budget) -> None:
        assert Budget.dcase(year) == budget == of_year(year).budget

    @pytest.mark.parametrize("year", [2019, 2026])
    def test_no_such_year(self, year: int) -> None:
        with pytest.raises(BudgetError, match=f"no rule for DCASE Task 1 in {year}.*2020 to 2025"):
            Budget.dcase(year)

    def test_every_rule_has_a_source_and_says_what_it_chose(self) -> None:
        assert [rule.year for rule in RULES] == [*range(2020, 2026)]
        assert all(rule.source and rule.note for rule in (*RULES, DCASE2022_TFLITE))

    def test_a_cap_is_inclusive(self) -> None:
        model = flags_example()
        cost = PLAIN.count(model)
        counted = [f for f in fields(Cost) if f.name != "ram"]  # no year has capped it
        for field in counted:
            spent = getattr(cost, field.name)
            assert replace(PLAIN, **{field.name: spent}).check(model).met
            assert not replace(PLAIN, **{field.name: spent - 1}).check(model).met


def test_half_a_network_can_meet_2023_and_fail_2024() -> None:
    """100,000 parameters in double width: few enough in number, too many in bytes."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(999, 100))
    example = torch.zeros(1, 999)
    assert DCASE2023.check(model, example).met
    assert not DCASE2024.check(model, example).met


Build = Callable[[], nn.Module]


@pytest.mark.parametrize("build", [flags_example, lambda: cp_mobile(1.8, 2.1)])
def test_counting_leaves_the_model_as_it_was(build: Build) -> None:
    model = build().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    text = str(model)
    for rule in (*RULES, DCASE2022_TFLITE):
        rule.check(model)
    assert str(model) == text
    assert all(module.training for module in model.modules())
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_what_is_no_model() -> None:
    with pytest.raises(ValueError, match=r"a model is needed, an instance of torch\.nn\.Module"):
        DCASE2022.check(3)
