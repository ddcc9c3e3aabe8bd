"""`measure` says what the library counts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

import compressor
from compressor.__main__ import main
from compressor.commands.words import named
from tests.helpers.tflite_files import residual

Capture = pytest.CaptureFixture[str]


def told(capsys: Capture, *words: str) -> dict[str, object]:
    assert main(["measure", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_figures_are_those_of_the_library(here: Path, capsys: Capture) -> None:
    del here
    model = named("mine:made")
    cost, memory = compressor.measure(model), compressor.working_memory(model)
    found = told(capsys, "mine:made")
    assert found == {
        "model": "Known", "inputs": [[1, 1, 8, 8]], **asdict(cost), "ram": memory.peak.bytes,
        "no ram": "",
    }  # fmt: skip
    assert main(["measure", "mine:made"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Known, for one input (1, 1, 8, 8)\n")
    for number in (cost.params, cost.nonzero, cost.macs, cost.bytes, memory.peak.bytes):
        assert f" {number:,} " in out.replace("(", " ").replace("\n", " ")


def test_layers_add_up(here: Path, capsys: Capture) -> None:
    del here
    found = told(capsys, "mine:Net", "--input", "1,1,8,8", "--by-layer")
    layers = found["layers"]
    assert isinstance(layers, list)
    for cost in ("params", "macs"):
        assert sum(layer[cost] for layer in layers) == found[cost]
    assert main(["measure", "mine:Known", "--by-layer"]) == 0
    out = capsys.readouterr().out
    assert "| module | " in out
    assert "| 0 + 1 " in out


def test_a_network_that_no_microcontroller_runs_says_why(here: Path, capsys: Capture) -> None:
    del here
    found = told(capsys, "mine:Known", "--with", "act='gelu'")
    assert found["ram"] is None
    assert "gelu" in str(found["no ram"])
    assert main(["measure", "mine:Known", "--with", "act='gelu'"]) == 0
    assert "  RAM         - (" in capsys.readouterr().out


def test_what_was_written_is_measured(here: Path, capsys: Capture) -> None:
    result = compressor.fit(named("mine:made"), budget=compressor.Budget(params=700))
    result.write(here / "small.safetensors")
    found = told(capsys, "small.safetensors", "--by-layer")
    assert found["params"] == result.report.after.params
    assert found["macs"] == result.report.after.macs
    assert "Holder" not in str(found["layers"])


def test_anybodys_tflite(here: Path, capsys: Capture) -> None:
    (here / "net.tflite").write_bytes(residual())
    found = told(capsys, "net.tflite")
    assert found["bytes"] == len(residual())
    assert main(["measure", "net.tflite"]) == 0
    out = capsys.readouterr().out
    assert f"MACs   {found['macs']:,}" in out
    assert main(["measure", "net.tflite", "--input", "1,2"]) == 2
    assert "leave out --with, --input and --weights" in capsys.readouterr().err
    assert main(["measure", "none.tflite"]) == 2
    assert "none.tflite: No such file" in capsys.readouterr().err


def test_the_operators_of_a_file_add_up(here: Path, capsys: Capture) -> None:
    (here / "net.tflite").write_bytes(residual())
    found = told(capsys, "net.tflite", "--by-layer")
    rows = found["operators"]
    assert isinstance(rows, list)
    assert [row["operator"] for row in rows[-2:]] == ["MEAN", "FULLY_CONNECTED"]
    assert sum(int(row["MACs"].replace(",", "")) for row in rows) == found["macs"]
    assert main(["measure", "net.tflite", "--by-layer"]) == 0
    out = capsys.readouterr().out
    assert sum(row["operator"] == "CONV_2D" for row in rows) == 6
    assert "1 x 10 x 8 x 12" in out, "as the file has it: channels last"


def test_an_input_that_the_model_does_not_take(here: Path, capsys: Capture) -> None:
    del here
    assert main(["measure", "mine:Net", "--input", "1,2,8,8"]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert said.err.startswith("compressor measure: Net could not be run on an example of (1, 2, ")
    assert said.err.count("\n") == 1
