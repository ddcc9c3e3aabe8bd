"""A cap on the bytes of the `.onnx`: known before training, met on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compressor import Budget, BudgetError, Int8, Onnx, Prune, Tflite, Unstructured, fit
from compressor.export.onnx import onnx_bytes
from compressor.network import to_network
from compressor.quantization.conversion import convert
from compressor.quantization.presets import ORT
from compressor.quantization.stand_ins import stand_in
from compressor.run.file_size import Stored
from compressor.run.onnx_size import SPARE
from compressor.tracing.tracer import trace
from tests.helpers.int8_nets import calibrated, trained
from tests.helpers.tiny import loader, tiny

pytest.importorskip("onnxscript")


@pytest.mark.slow
def test_the_file_on_the_disk_is_the_one_that_was_capped(tmp_path: Path) -> None:
    budget = Budget(bytes=6000, file=Onnx())
    result = fit(tiny(), loader(32), budget=budget, schedule=[Prune(), Int8(epochs=1)])
    report = result.report
    result.export(tmp_path / "model.onnx")
    size = (tmp_path / "model.onnx").stat().st_size
    assert report.files is not None
    assert report.files[1] == size <= report.shrinks[-1].reached["bytes"] <= 6000
    assert report.shrinks[-1].reached["bytes"] <= size + 300
    assert "bytes <= 6,000 of the .onnx" in str(report)


@pytest.mark.slow
def test_without_rounding_it_holds_the_numbers_of_the_model(tmp_path: Path) -> None:
    result = fit(tiny(), budget=Budget(bytes=6000, file=Onnx()))
    result.export(tmp_path / "model.onnx")
    size = (tmp_path / "model.onnx").stat().st_size
    assert result.report.files is not None
    assert result.report.files[1] == size <= 6000
    assert result.report.to_come == ""


@pytest.mark.slow
def test_a_bound_is_hardly_above_the_file_and_no_training_changes_it() -> None:
    torch.manual_seed(0)
    model = trained(tiny(12), negative=0.3)
    example = (model.example_input_array,)
    graph, later = trace(model, example), (Int8(),)
    most = Onnx().bound(Stored(model, example, graph, {}, {}, later))
    size = len(onnx_bytes(convert(calibrated(to_network(model, example), ORT))))
    assert size <= most <= size + 150 + SPARE
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.5)
    alike = stand_in(to_network(model, example), ORT)
    assert len(onnx_bytes(alike)) < most
    assert Onnx().bound(Stored(model, example, graph, {}, {}, later)) == most


@pytest.mark.slow
def test_what_it_does_not_hold_is_refused_before_training() -> None:
    budget = Budget(bytes=6000, file=Onnx())
    match = r"Unstructured\(\) makes zeros, and a \.onnx holds as many bytes for every weight"
    with pytest.raises(BudgetError, match=match):
        fit(tiny(), loader(32), budget=budget, schedule=[Prune(), Unstructured(), Int8(epochs=0)])
    small = Budget(bytes=1000, file=Onnx())
    with pytest.raises(BudgetError, match=r"bytes <= 1,000 cannot be .* of numbers, .* operators"):
        fit(tiny(), loader(32), budget=small, schedule=[Prune(), Int8(epochs=0)])


def test_two_files_are_two_budgets() -> None:
    assert Budget(bytes=5, file=Onnx()) == Budget(bytes=5, file=Onnx())
    assert Budget(bytes=5, file=Onnx()) != Budget(bytes=5, file=Tflite())
