"""Runtimes of microcontrollers, on a small network: records that are whole, figures that agree."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.common.records import Records
from benchmarks.microcontroller import __main__ as whole
from benchmarks.microcontroller import nets, page
from benchmarks.microcontroller.runtimes import Estimate, agreement, estimate
from models import DSCNN

KEY = {"net": "DS-CNN", "seed": 0}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network in the place of all."""
    pytest.importorskip("tflite_micro")
    monkeypatch.setitem(nets.NETS, "DS-CNN", partial(DSCNN, 5, 12, 2, coefficients=20, frames=16))


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_record_is_whole_and_exact() -> None:
    record = whole.run("DS-CNN", 0, compared=8)
    assert json.loads(json.dumps(record)) == record
    assert record["TFLM"] == {"equal": 1.0, "steps": 0, "classes": 1.0}
    assert record["greedy"] >= record["planned"] >= record["bound"] > 0
    assert record["params"] < record["file"] < record["params"] + 20_000
    assert record["floating"] == 0
    shown = page.report(Records(({**KEY, **record},)))
    assert f"| DS-CNN | {record['params']:,} | {record['file']:,} |" in shown
    assert "| DS-CNN | 100 % |" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_normalisation_has_the_inputs_statistics() -> None:
    torch.manual_seed(0)
    model = nets.NETS["DS-CNN"]()
    nets.integers(model)
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    stem = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    with torch.no_grad():
        x = stem(nets.inputs(model, nets.CALIBRATION, 0))
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_agreement_counts_outputs_steps_and_classes() -> None:
    one = [np.array([[1, 2, 3]], np.int8), np.array([[5, -128, 0]], np.int8)]
    other = [np.array([[1, 2, 3]], np.int8), np.array([[5, 127, 0]], np.int8)]
    assert agreement(one, other) == {"equal": 5 / 6, "steps": 255, "classes": 0.5}


def test_estimated_cycles_are_those_of_the_summary(tmp_path: Path) -> None:
    """A program in vela's place, which writes what vela writes."""
    program = tmp_path / "vela"
    program.write_text(
        "#!/bin/sh\n"
        'test "$1" = --version && echo 5.0 && exit 0\n'
        'test "$1" = --accelerator-config && test "$2" = ethos-u55-128 || exit 1\n'
        'test "$(cat "$5")" = content || exit 1\n'
        'printf "network,cycles_npu,cycles_total\\nx,7.0,9.0\\n" > "$4/model_summary_x.csv"\n'
    )
    program.chmod(0o755)
    assert estimate(b"content", str(program)) == Estimate(9, "5.0")
