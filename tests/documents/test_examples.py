"""The examples: notebooks are their scripts' cells, and every cell runs."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "examples"
MAKING = runpy.run_path(str(FOLDER / "notebooks.py"))
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
WORDS = ("down", "no", "up", "yes")


def cells(notebook: Path, kind: str) -> list[str]:
    found = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def run(notebook: Path) -> dict[str, Any]:
    """What all its cells of code leave, run in their order."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    for number, code in enumerate(cells(notebook, "code")):
        exec(compile(code, f"{notebook.name}[{number}]", "exec"), scope)  # noqa: S102 - our own
    return scope


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["image_classifier", "keywords", "own_loop"]
    assert [path.stem for path in MAKING["scripts"]()] == [path.stem for path in NOTEBOOKS]
    told = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"[{path.name}]({path.name})" in told for path in NOTEBOOKS)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_its_script_without_outputs(notebook: Path) -> None:
    script = notebook.with_suffix(".py").read_text("utf-8")
    assert notebook.read_text("utf-8") == MAKING["notebook"](script)
    found = json.loads(notebook.read_text("utf-8"))
    code = [cell for cell in found["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in found["cells"]}) == len(found["cells"])
    assert cells(notebook, "markdown")[0].startswith("# ")


@pytest.mark.slow
def test_the_image_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run(FOLDER / "image_classifier.ipynb")
    costs = {name: result.report.after for name, result in scope["results"].items()}
    assert costs["half of the parameters"].params <= 10_000
    assert costs["a quarter of the MACs"].macs <= 200_000
    assert (tmp_path / "digits.safetensors").stat().st_size <= 6 * 1024
    assert scope["accuracy"](scope["dense"]) > 80
    assert all(scope["accuracy"](result.model) > 70 for result in scope["results"].values())


@pytest.mark.slow
def test_the_own_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run(FOLDER / "own_loop.ipynb")
    assert scope["result"].report.after.params <= 8_000
    shapes = [tuple(p.shape) for p in scope["average"].module.parameters()]
    assert shapes == [tuple(p.shape) for p in scope["network"].parameters()]
    assert scope["accuracy"](scope["integers"].model) > 70
    assert (tmp_path / "own_loop.safetensors").stat().st_size <= 12 * 1024


@pytest.mark.slow
def test_the_keywords_on_tones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path / "none"))
    scope = run(FOLDER / "keywords.ipynb")
    after = scope["result"].report.after
    assert after.ram <= 4096
    assert after.params <= 2000
    assert scope["right"] > 0.6
    said = capsys.readouterr().out
    assert "generated tones stand in" in said
    assert "arduino-nano-33-ble  fits" in said
    assert {"keywords.tflite", "firmware"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
@pytest.mark.data
def test_the_keywords_on_recorded_words(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shared_data / "speech_commands_v002_test"
    if not (source / "clips.csv").is_file():
        pytest.skip(f"no speech commands at {source}")
    listed = pd.read_csv(source / "clips.csv", keep_default_na=False)
    for word in WORDS:
        folder = tmp_path / "speech_commands_v0.02" / word
        folder.mkdir(parents=True)
        for name in listed[listed["keyword"] == word]["filename"]:
            (folder / Path(name).with_suffix(".wav").name).symlink_to(source / "audio" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path))
    scope = run(FOLDER / "keywords.ipynb")
    assert len(scope["labels"]) == len(WORDS) * scope["CLIPS"]
    assert scope["result"].report.after.ram <= 4096
    assert scope["right"] > 0.4  # of four words: chance is 0.25
