"""A cap on RAM from a model to its `.tflite`: met by the file's own figure, or refused at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressor import (
    Budget,
    FilterPruning,
    FineTune,
    FrequencyMask,
    Half,
    Int8,
    Joint,
    Prune,
    Session,
    Unstructured,
    fit,
    measure,
    working_memory,
)
from compressor.errors import BudgetError
from compressor.export.micro.arena import ram
from compressor.export.micro.thrift import frugal
from compressor.phases import Phase
from compressor.quantization.presets import TFLM
from tests.helpers.tiny import loader, scenes, tiny

CAPS = Budget(ram=900, macs="28k")
"""A `Tiny` has a peak of 1,536 bytes and 66 thousand MACs."""


def test_without_data_all_caps_are_met_together() -> None:
    model = tiny()
    report = fit(model, budget=CAPS).report
    assert report.before.ram == working_memory(model).peak.bytes == 1536
    assert report.after.ram is not None
    assert report.after.ram <= 900
    assert report.after.macs <= 28_000
    assert set(report.unused) == {"macs", "ram"}
    assert report.unused["ram"] == 1 - report.after.ram / 900
    (shrink,) = report.shrinks
    assert shrink.caps == {"macs": 28_000, "ram": 900}
    assert shrink.reached["ram"] == report.after.ram
    assert shrink.bound is not None
    assert shrink.bound >= shrink.value
    assert set(shrink.prices) == {"macs", "ram"}


def test_ram_alone_is_a_budget_that_binds() -> None:
    result = fit(tiny(), budget=Budget(ram=900))
    assert result.report.binding == ("ram",)
    assert result.report.after.ram == working_memory(result).peak.bytes <= 900


def test_the_report_says_what_makes_the_peak(tmp_path: Path) -> None:
    result = fit(tiny(), budget=CAPS)
    report = result.report
    memory = report.memory
    assert memory is not None
    assert memory.peak.bytes == report.after.ram == memory.arena
    assert sum(tensor.room for tensor in memory.peak.tensors) == memory.peak.bytes
    (row,) = (line for line in report.markdown().splitlines() if line.startswith("| ram |"))
    assert row.split(" | ")[1:4] == ["1,536", f"{report.after.ram:,}", "900"]
    assert f"Working memory of the .tflite file: {report.after.ram:,} bytes" in str(report)
    said = json.loads(report.json())
    assert said["after"]["ram"] == said["memory"]["peak"] == report.after.ram
    memory.plot(tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 1000


def test_without_a_cap_nothing_is_counted() -> None:
    report = fit(tiny(), budget=Budget(macs="28k")).report
    assert (report.before.ram, report.after.ram, report.memory) == (None, None, None)
    assert "| ram" not in report.markdown()
    assert measure(tiny()).ram is None


def test_gradual_pruning_leads_to_the_cap() -> None:
    schedule = [Prune(method="dual", steps=2, epochs=1)]
    report = fit(tiny(), loader(32), budget=CAPS, schedule=schedule).report
    first, last = report.shrinks
    assert first.caps["ram"] == int((1536 * 900) ** 0.5)
    assert first.reached["ram"] <= first.caps["ram"]
    assert last.reached["ram"] <= 900


def test_a_session_meets_it_too() -> None:
    result = Session(tiny(), budget=CAPS).finish()
    assert result.report.after.ram is not None
    assert result.report.after.ram <= 900


def test_integers_have_the_ram_that_was_promised(tmp_path: Path) -> None:
    schedule = [Prune(method="dual"), Int8(epochs=0, preset=TFLM)]
    result = fit(tiny(), loader(32), budget=CAPS, schedule=schedule)
    report = result.report
    assert report.after.ram == report.shrinks[-1].reached["ram"] <= 900
    assert report.after.ram == ram(frugal(result.network))
    result.export(tmp_path / "model.tflite")
    assert b"OfflineMemoryAllocation" in (tmp_path / "model.tflite").read_bytes()


def test_the_default_schedule_ends_in_the_integers_of_the_file() -> None:
    with_labels = fit(tiny(), loader(32), budget=CAPS, epochs=1)
    with_inputs = fit(tiny(), scenes(32).tensors[0], budget=CAPS)
    for result in (with_labels, with_inputs):
        assert ram(frugal(result.network)) == result.report.after.ram


def test_width_density_and_bits_are_divided_under_it() -> None:
    caps = Budget(ram=900, bytes=3000)
    schedule = [Joint(averages=(8.0, 5.0)), Int8(epochs=0, preset=TFLM)]
    report = fit(tiny(width=12), loader(32), budget=caps, schedule=schedule).report
    assert report.after.ram is not None
    assert report.after.ram <= 900
    assert report.files is not None
    assert report.files[1] <= 3000


def test_a_peak_out_of_reach_names_its_tensors_before_training() -> None:
    with pytest.raises(BudgetError) as refused:
        fit(tiny(), loader(32), budget=Budget(ram=100), epochs=1)
    said = str(refused.value)
    assert "ram <= 100 cannot be reached: the smallest structure has 192 while" in said
    assert "(64)" in said


@pytest.mark.parametrize(
    ("schedule", "match"),
    [
        ([FilterPruning()], r"single filters .* use Prune"),
        ([FrequencyMask(epochs=0, fine_tune=0), Prune()], "rows of its input .* leave it out"),
        ([Unstructured(amount=0.5)], r"cannot lower ram.*: put Prune\(\)"),
        ([FineTune(epochs=1)], r"put Prune\(\)"),
        ([Prune(), Half()], r"leave Half\(\) out"),
        ([Prune(), Int8(epochs=0)], r"Int8\(preset=presets.TFLM\)"),
    ],
    ids=["single filters", "rows", "single weights", "training", "16 bits", "another runtime"],
)
def test_what_cannot_meet_it_is_refused(schedule: list[Phase], match: str) -> None:
    with pytest.raises(BudgetError, match=match):
        fit(tiny(), loader(32), budget=Budget(ram=900, macs="60k"), schedule=schedule)


class Softened(nn.Module):
    """With an operation that is not computed in integers there."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3)
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.softmax(self.first(x), 1)).mean((2, 3))


def test_a_model_without_a_file_has_no_figure() -> None:
    match = "export: .* forward pass runs softmax.*so that no .tflite is written"
    with pytest.raises(BudgetError, match=f"ram .* {match}"):
        fit(Softened(), budget=Budget(ram=900))
    with pytest.raises(ValueError, match=match):
        working_memory(Softened())
    assert measure(Softened()).ram is None
    assert fit(Softened(), budget=Budget(macs="4k")).report.after.macs <= 4000
