"""The rules count networks of data, of integers too, as they count modules: never as nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import compressor
from compressor import Budget, Half, Int8, Prune, fit, load, measure
from compressor.errors import CountError
from compressor.network import Network, to_network
from compressor.network.file import container
from compressor.phases import Phase
from compressor.phases.half import halved
from compressor.quantization.conversion import convert
from compressor.quantization.preparation import calibrate, prepare
from compressor.quantization.presets import ORT, TENSORRT, Preset
from compressor.reports.report import Report
from compressor.rules import DCASE2022, DCASE2022_TFLITE, RULES, Rule, folded, of_year
from compressor.rules.counters import torchinfo_count
from models import BCResNet, BCResNetASC
from tests.helpers.int8_nets import examples, trained
from tests.helpers.recurrent_nets import SceneGru
from tests.helpers.tiny import loader, tiny
from tests.rules.test_rules import flags_example, official_baseline

YEARS = [pytest.param(rule, id=str(rule.year)) for rule in RULES]


def filters() -> nn.Module:
    """Of all kinds of layer with a norm behind it: what is folded has a bias each."""
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, (3, 1), groups=6, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 5),
    )
    model.example_input_array = torch.zeros(1, 2, 8, 8)
    return trained(model)


def baseline() -> nn.Module:
    """The official one of 2022, whose counts were published."""
    return official_baseline((16, 16, 32), (4, 10), 10, 51).eval()


def integers(model: nn.Module, preset: Preset = ORT) -> Network:
    prepared = prepare(to_network(model), preset)
    calibrate(prepared, [(examples(model, 4),)])
    return convert(prepared)


def through_a_file(made: Network) -> Network:
    return container.unpack(container.pack(made))


@cache
def official(preset: Preset) -> Network:
    """The integers of the official baseline. Not to be changed."""
    return integers(baseline(), preset)


@pytest.mark.parametrize(
    "build",
    [
        filters,
        flags_example,
        pytest.param(lambda: trained(BCResNet(1, 4, 4, mels=64, frames=9)), marks=pytest.mark.slow),
    ],
    ids=["filters", "flags", "sub-bands"],
)
def test_a_network_is_counted_as_its_module(build: Callable[[], nn.Module]) -> None:
    model = build().eval()
    made = to_network(model)
    again = through_a_file(made)
    for rule in RULES:
        assert rule.count(again) == rule.count(made) == rule.count(model)
    assert measure(made) == measure(model)
    assert torchinfo_count(made) == torchinfo_count(model)


def test_halves_take_half_the_bytes() -> None:
    model = filters()
    made = through_a_file(halved(to_network(model)))
    for rule in RULES:
        whole, half = rule.count(model), rule.count(made)
        assert replace(half, bytes=0) == replace(whole, bytes=0)
        assert half.bytes == (whole.bytes if rule.weight_bits else whole.bytes / 2)


@pytest.mark.parametrize("preset", [ORT, TENSORRT], ids=["ort", "tensorrt"])
def test_integers_of_the_official_baseline_are_what_was_published(preset: Preset) -> None:
    """45,990 parameters and 46,512 bytes: an int8 file with 32-bit biases."""
    made = official(preset)
    for counted in (made, through_a_file(made)):
        cost = DCASE2022_TFLITE.count(counted)
        assert (cost.params, cost.bytes, cost.macs) == (45_990, 46_512, 29_203_560)
        assert measure(counted).params == 45_990
        assert DCASE2022.count(counted).bytes == 45_990


@cache
def counted(preset: Preset, *, masked: bool) -> tuple[nn.Module, Network]:
    """A module and its integers, read from a file. Not to be changed."""
    model = filters()
    if masked:
        with torch.no_grad():
            model[3].weight[:, :, 1:] = 0
            model[8].weight[:, ::2] = 0
    return model, through_a_file(integers(model, preset))


@pytest.mark.parametrize("rule", YEARS)
@pytest.mark.parametrize("preset", [ORT, TENSORRT], ids=["ort", "tensorrt"])
@pytest.mark.parametrize("masked", [False, True], ids=["dense", "sparse"])
def test_integers_are_counted_as_the_folded_network(
    rule: Rule, preset: Preset, *, masked: bool
) -> None:
    """Parameters and MACs of the folded module; bytes entry by entry, as they are stored."""
    model, made = counted(preset, masked=masked)
    cost, whole = rule.count(made), replace(rule, folded=True).count(model)
    assert (cost.params, cost.macs) == (whole.params, whole.macs)
    weights = [t for t in made.buffers() if t.dtype == torch.int8]
    biases = [b for n, b in made.named_buffers() if n.endswith("bias")]
    others = [t for t in made.buffers() if not any(t is k for k in (*weights, *biases))]
    assert cost.params == sum(t.numel() for t in (*weights, *biases))
    assert cost.nonzero == sum(int((t != 0).sum()) for t in (*weights, *biases))
    assert not masked or cost.nonzero <= cost.params - 12 - 60
    charged = sum(
        (t.numel() if rule.zeros else int((t != 0).sum())) * (1 if rule.weight_bits else t.itemsize)
        for t in (*weights, *biases)
    )
    scales = 0 if rule.weight_bits else sum(t.nbytes for t in others)
    assert cost.bytes == charged + scales > sum(int((t != 0).sum()) for t in weights)
    assert measure(made).bytes == sum(t.nbytes for t in made.buffers())


def test_too_many_integers_exceed_every_rule() -> None:
    """Nothing of it is over a cap but what stands in integers."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(999, 600))
    model.example_input_array = torch.zeros(1, 999)
    made = through_a_file(integers(model))
    for rule in RULES:
        assert not rule.check(made).met
        assert rule.count(made).params == 600_000
    assert torchinfo_count(made).params == 600_000


def test_a_norm_of_its_own_counts_its_gain_and_shift() -> None:
    """Where it follows no layer it cannot be folded, and is an operation in floating point."""
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1))
    model.example_input_array = torch.zeros(1, 3, 4, 4)
    made = integers(trained(model))
    assert measure(made).params == 2 * 3 + 2 * 3 + 2
    assert of_year(2021).count(made).params == measure(made).params
    assert of_year(2020).count(made).params == 2 * 3 + 2
    assert DCASE2022.count(made).macs == 6 + (2 * 3 + 2) * 16


class Wrapped(nn.Module):
    """A network behind a layer of the user's own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first, self.inner = nn.Conv2d(2, 2, 1), inner
        self.example_input_array = torch.zeros(1, 2, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.first(x))


def test_a_network_inside_a_module_is_counted_too() -> None:
    inner = integers(filters())
    alone, whole = DCASE2022.count(inner), DCASE2022.count(Wrapped(inner))
    assert (whole.params, whole.macs) == (alone.params + 6, alone.macs + 6 * 64)
    assert measure(Wrapped(inner)).params == alone.params + 6


def test_norms_in_a_network_are_not_folded_in_silence() -> None:
    made = to_network(filters())
    with pytest.raises(CountError, match=r"has no layers\. Count the module that it was written"):
        DCASE2022_TFLITE.count(made)
    assert folded(integers(filters())) is not None


@pytest.mark.parametrize("phase", [Prune(), Half(), Int8(epochs=0)], ids=["float", "16", "8"])
def test_a_result_is_counted_as_its_model_and_judged_in_its_report(
    phase: Phase, tmp_path: Path
) -> None:
    result = fit(tiny(), loader(), budget=DCASE2022, schedule=[phase], progress=False)
    result.write(tmp_path / "file")
    again = load(tmp_path / "file")
    for rule in RULES:
        assert rule.check(result) == rule.check(result.model, result.example)
        assert rule.check(result) == rule.check(again)
    assert measure(result) == measure(result.model, result.example) == measure(again)
    assert measure(result).bytes == result.report.after.bytes
    assert measure(result).macs == result.report.after.macs
    verdict = DCASE2022.check(result)
    assert result.report.verdict == verdict
    assert verdict.met
    assert verdict.cost.params > 0
    assert str(verdict) in str(result.report)
    assert str(verdict) in result.report.markdown()
    said = json.loads(result.report.json())["verdict"]
    assert (said["year"], said["met"], said["cost"]["macs"]) == (2022, True, verdict.cost.macs)


@pytest.mark.parametrize("year", [2022, 2023])
def test_weights_that_are_left_in_floating_point_do_not_meet_8_bits(
    year: int, tmp_path: Path
) -> None:
    """The rule fixes the type: whatever their number, and so before a file and after."""
    rule, gru = of_year(year), 3 * 16 * (8 + 16)
    data = [torch.randn(4, 1, 64, 32) for _ in range(2)]
    model = SceneGru(10, 16).eval()
    assert rule.check(model).met
    with pytest.warns(UserWarning, match="never trained"):
        result = fit(model, data, budget=rule, schedule=[Int8(epochs=0)], progress=False)
    result.write(tmp_path / "file")
    verdict = rule.check(result)
    assert verdict == rule.check(load(tmp_path / "file")) == result.report.verdict
    assert verdict.wider == {"gru": gru}
    assert rule.budget.allows(verdict.cost)
    assert not verdict.met
    said = f"gru ({gru:,} weights) in floating point, not in 8 bits: exceeds the rule"
    assert str(verdict).endswith(said)
    assert "Int8 rounds convolutions and linear layers" in " ".join(str(result.report).split())
    again = Report.from_json(result.report.json()).verdict
    assert again == verdict
    rounded = verdict.cost.params - sum(p.numel() for p in model.gru.parameters())
    assert verdict.cost.bytes >= rounded + 4 * gru


def test_a_rule_is_a_budget_and_a_budget_knows_its_rule() -> None:
    rule = replace(DCASE2022, params=600, macs=30_000)
    given, asked = (fit(tiny(), budget=b).report for b in (rule, rule.budget))
    assert given.verdict == asked.verdict is not None
    plain = Budget(params=600, macs=30_000)
    assert plain == rule.budget
    assert fit(tiny(), budget=plain).report.verdict is None
    assert Budget.dcase(2024).rule == of_year(2024)
    assert compressor.Session(tiny(), budget=rule).finish().report.verdict is not None


def test_a_report_says_that_a_rule_is_exceeded_though_the_budget_is_met() -> None:
    """One bias at every position is what the rule counts and the budget does not."""
    rule = replace(DCASE2022, params=10**6, macs=measure(tiny()).macs)
    report = fit(tiny(), budget=rule).report
    assert report.after.macs <= rule.macs < report.verdict.cost.macs
    assert not report.verdict.met
    said = " ".join(str(report).split())
    assert f"{report.verdict.cost.macs:,} of {rule.macs:,} macs" in said
    assert "exceeds the rule, though the budget of the same caps is met" in said


def test_a_rule_that_cannot_count_the_result_costs_no_result() -> None:
    rule = replace(DCASE2022_TFLITE, params=10**6)
    report = fit(tiny(), loader(), budget=rule, schedule=[Half()], progress=False).report
    assert report.verdict is None
    assert "Not judged by the rule: BatchNorm of the Network cannot be folded" in str(report)


@pytest.mark.slow
def test_the_integers_of_a_residual_normalisation() -> None:
    """Its mean and deviation hold nothing: all there is are the layers' integers."""
    made = integers(trained(BCResNetASC(4, mels=32, frames=8)))
    weights = sum(t.numel() for t in made.buffers() if t.dtype == torch.int8)
    biases = sum(t.numel() for n, t in made.named_buffers() if n.endswith(".bias"))
    assert DCASE2022.count(made).params == weights + biases
