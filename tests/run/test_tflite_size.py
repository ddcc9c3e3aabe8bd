"""A cap on the bytes of the `.tflite`: known before training, met on the disk, by every road."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from compressor import (
    Budget,
    BudgetError,
    FilterPruning,
    FineTune,
    FrequencyMask,
    Half,
    Int8,
    Joint,
    Prune,
    Recalibrate,
    Session,
    Tflite,
    Unstructured,
    fit,
    load,
)
from compressor.budget import File
from compressor.export.tflite import made
from compressor.phases import Phase
from compressor.quantization.presets import TFLM
from compressor.reports.boards.files import given
from compressor.reports.boards.fit import need
from compressor.run.file_size import artefact_of
from tests.helpers.tiny import loader, scenes, tiny

pytest.importorskip("flatbuffers")

CAP = 4000
BUDGET = Budget(bytes=CAP, file=Tflite())
"""A `Tiny` has a file of some 5,200 bytes, and 2,500 with one channel a layer."""

LAST = Int8(epochs=0, preset=TFLM)


@pytest.mark.slow
def test_the_file_on_the_disk_is_the_one_that_was_capped(tmp_path: Path) -> None:
    schedule = [Prune(method="dual"), Recalibrate(), Int8(epochs=1, preset=TFLM)]
    result = fit(tiny(), loader(32), budget=BUDGET, schedule=schedule)
    report = result.report
    result.export(tmp_path / "model.tflite")
    size = (tmp_path / "model.tflite").stat().st_size
    assert report.files is not None
    assert report.files[1] == size <= CAP < report.files[0]
    (shrink,) = report.shrinks
    assert size <= shrink.reached["bytes"] <= CAP
    assert CAP - shrink.reached["bytes"] < 200  # one channel more is too many
    assert shrink.bound is not None
    assert shrink.bound >= shrink.value
    assert report.binding == ("bytes",)
    assert report.unused == {"bytes": 1 - size / CAP}
    assert f"bytes <= {CAP:,} of the .tflite" in str(report)
    first = "| bytes of the .tflite |"
    (row,) = (line for line in report.markdown().splitlines() if line.startswith(first))
    assert row.split(" | ")[1:4] == [f"{report.files[0]:,}", f"{size:,}", f"{CAP:,}"]
    assert "A .tflite holds a byte for every weight" in str(report)
    assert json.loads(report.json())["file"] == ".tflite"
    result.save(tmp_path / "saved")
    result.write(tmp_path / "stored")
    for place in (tmp_path / "model.tflite", tmp_path / "saved", tmp_path / "stored"):
        assert need(given(place)).flash == size
    assert len(made(load(tmp_path / "stored"))[1]) == size  # type: ignore[arg-type]


def test_all_caps_are_met_together() -> None:
    budget = Budget(bytes=4800, ram=900, macs="30k", params=500, file=Tflite())
    result = fit(tiny(), loader(32), budget=budget, schedule=[Prune(method="dual"), LAST])
    report = result.report
    assert report.files is not None
    assert report.files[1] <= 4800
    assert report.after.ram is not None
    assert report.after.ram <= 900
    assert report.after.macs <= 30_000
    assert report.after.params <= 500
    assert set(report.shrinks[-1].caps) == {"params", "macs", "bytes", "ram"}


def test_what_fits_already_stays_whole() -> None:
    schedule = [Prune(), LAST]
    result = fit(tiny(), loader(32), budget=replace(BUDGET, bytes=8000), schedule=schedule)
    assert result.report.after.params == result.report.before.params


@pytest.mark.slow
def test_the_default_schedules_end_in_the_file() -> None:
    with_labels = fit(tiny(), loader(32), budget=BUDGET, epochs=1)
    with_inputs = fit(tiny(), scenes(32).tensors[0], budget=BUDGET)
    for result in (with_labels, with_inputs):
        assert result.report.files is not None
        assert len(made(result.network)[1]) == result.report.files[1] <= CAP


def test_gradual_pruning_leads_to_the_cap() -> None:
    schedule = [Prune(method="dual", steps=2, epochs=1), LAST]
    report = fit(tiny(), loader(32), budget=BUDGET, schedule=schedule).report
    first, last = report.shrinks
    assert first.caps["bytes"] > last.caps["bytes"] == CAP
    assert report.files is not None
    assert report.files[1] <= CAP


@pytest.mark.slow
def test_joint_takes_what_the_file_can_hold() -> None:
    report = fit(tiny(), loader(32), budget=BUDGET, schedule=[Joint(), LAST]).report
    assert report.files is not None
    assert report.files[1] <= CAP
    assert report.stored == "int8"
    match = r"Joint\(averages=\(4\.0,\)\) .* a byte for every weight.* leave averages out"
    with pytest.raises(BudgetError, match=match):
        fit(tiny(), loader(32), budget=BUDGET, schedule=[Joint(averages=(4.0,)), LAST])


def test_zeros_are_made_for_a_cap_on_zeros_alone() -> None:
    budget = Budget(bytes=CAP, nonzero=300, file=Tflite())
    result = fit(tiny(), loader(32), budget=budget, schedule=[Prune(), Unstructured(), LAST])
    assert result.report.after.nonzero <= 300
    assert len(made(result.network)[1]) <= CAP


@pytest.mark.slow
@pytest.mark.parametrize("every", [None, 1])
def test_a_session_promises_the_file_to_come(every: int | None) -> None:
    session = Session(tiny(), budget=BUDGET, every=every)
    result = session.finish()
    report = result.report
    assert report.files is not None
    assert report.files[1] <= CAP
    assert f"There is no .tflite before {Tflite.rounding}: {report.files[1]:,} bytes" in str(report)
    again = fit(result.model, loader(32), budget=BUDGET, schedule=[Int8(epochs=1, preset=TFLM)])
    assert again.report.files is not None
    assert again.report.files[1] <= report.files[1]


def test_without_data_the_file_to_come_is_promised() -> None:
    result = fit(tiny(), budget=BUDGET)
    assert result.report.to_come == Tflite.rounding
    assert json.loads(result.report.json())["to come"] == Tflite.rounding
    again = fit(result.model, loader(32), budget=BUDGET, schedule=[LAST])
    assert again.report.files is not None
    assert result.report.files is not None
    assert again.report.files[1] <= result.report.files[1] <= CAP


@pytest.mark.slow
def test_a_stopped_run_ends_in_the_same_file(tmp_path: Path) -> None:
    schedule = [Prune(method="dual"), FineTune(epochs=1), Int8(epochs=1, preset=TFLM)]

    def run(stop: bool) -> bytes:  # noqa: FBT001
        def ends(_: object) -> None:
            if stop:
                raise KeyboardInterrupt

        result = fit(
            tiny(), loader(32), budget=BUDGET, schedule=schedule, checkpoint=tmp_path / "run",
            on_epoch=ends,
        )  # fmt: skip
        return made(result.network)[1]

    with pytest.raises(KeyboardInterrupt):
        run(stop=True)
    resumed = run(stop=False)
    whole = fit(tiny(), loader(32), budget=BUDGET, schedule=schedule)
    assert resumed == made(whole.network)[1]


@pytest.mark.slow
def test_the_smallest_file_and_what_it_is_made_of_are_named_before_training() -> None:
    with pytest.raises(BudgetError) as refused:
        fit(tiny(), loader(32), budget=replace(BUDGET, bytes=2000), epochs=1)
    said = str(refused.value)
    assert "bytes <= 2,000 cannot be reached: the smallest structure has 2,496:" in said
    assert "of weights and biases" in said
    assert "of operators, tensors and their tables" in said
    reached = fit(tiny(), loader(32), budget=replace(BUDGET, bytes=2496), epochs=1)
    assert reached.report.files is not None
    assert reached.report.files[1] <= 2496


@pytest.mark.parametrize(
    ("schedule", "match"),
    [
        (
            [Prune()],
            r"without Int8\(preset=presets\.TFLM\) there is no \.tflite: put it at the end",
        ),
        ([Prune(), Half()], r"there is no \.tflite: put it at the end"),
        ([Prune(), Int8(epochs=0)], r"rounded for another runtime.*Int8\(preset=presets\.TFLM\)"),
        ([LAST], r"Int8 can leave up to .* put Prune\(\) before Int8"),
        ([Prune(), Unstructured(), LAST], r"Unstructured\(\) makes zeros, and a \.tflite holds"),
        ([Prune(), Unstructured(amount=0.5), LAST], r"makes zeros.*leave it out, or cap nonzero"),
        ([FilterPruning(), LAST], r"single filters .* use Prune"),
        ([FrequencyMask(epochs=0, fine_tune=0), Prune(), LAST], "rows of its input .* leave it"),
    ],
)
def test_a_schedule_that_cannot_meet_it_is_refused(schedule: list[Phase], match: str) -> None:
    with pytest.raises(BudgetError, match=match):
        fit(tiny(), loader(32), budget=replace(BUDGET, macs=60_000), schedule=schedule)


class Softened(nn.Module):
    """With an operation that is not computed in integers there."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3)
        self.example_input_array = torch.zeros(1, 1, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.softmax(self.first(x), 1)).mean((2, 3))


def test_a_model_without_such_a_file_is_refused_in_the_writers_words() -> None:
    match = r"a cap on bytes is on the \.tflite .* softmax.* so that no \.tflite is written"
    with pytest.raises(BudgetError, match=match):
        fit(Softened(), budget=BUDGET)
    with pytest.raises(BudgetError, match=match):
        Session(Softened(), budget=BUDGET)


def test_the_file_of_a_budget_is_one_that_is_known() -> None:
    assert artefact_of(BUDGET) == Tflite()
    assert artefact_of(Budget(bytes=1)).sparse
    assert BUDGET == Budget(bytes=CAP, file=Tflite()) != Budget(bytes=CAP)
    for wrong in (".tflite", Tflite, 1, File()):
        with pytest.raises(BudgetError, match=r"Budget\(bytes='32KiB', file=Tflite\(\)\)"):
            Budget(bytes=CAP, file=wrong)  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match=r"Budget\(file=Tflite\(\)\): says which file"):
        Budget(params=5, file=Tflite())
