"""An entry with a network of one's own, of every year, from files to what is handed in."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchinfo
from rich.console import Console

import compressor
from compressor.rules import of_year
from recipes.judging import system
from recipes.judging.metrics import evaluate
from recipes.running.command import run
from recipes.running.scene_data import DataSpec, load
from recipes.scenes import __main__ as command
from recipes.scenes.network import Source
from recipes.scenes.settings import Config, fast, of
from recipes.submission.check import check_meta
from recipes.submission.forms import FORM2022, FORM2023, FORM2024, FORM2025, Form
from recipes.submission.output import check_package
from recipes.submission.yaml_reader import read_plain

MODEL = "tests.helpers.scene_net:SceneNet"
SOURCE = Source(MODEL)
TINY = ["budget.params=900", "train.batch=16"]


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def entered(data: Path | None, *words: str) -> Path:
        out = tmp_path / "run"
        given = ["--data", str(data)] if data else []
        argv = [*given, "--fast", "--device", "cpu", "--out", str(out), *words, "--model", MODEL]
        monkeypatch.setattr(sys, "argv", ["scenes", *argv])
        run(command.__doc__, "scenes", Config(), fast, command.main, own=command.OWN)
        return out

    return entered


def said_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())


def check_counts(folder: Path, year: int) -> None:
    """The caps hold by the year's rule, were asked for, and the network was above one of them."""
    said = said_of(folder)
    dense, pruned = (said["counts"][stage][0]["rule"] for stage in ("dense", "pruned"))
    assert pruned["params"] <= 900 < dense["params"]
    assert said["cost"]["bytes"] == pruned["params"], "8 bits each"
    assert pruned["macs"] <= of_year(year).budget.caps["macs"]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize(("year", "form"), [(2022, FORM2022), (2023, FORM2023)])
def test_an_entry_of_one_network(tau2022: Path, enter: Any, year: int, form: Form) -> None:
    """What is left says what it says: judged again in another way, the figures are equal."""
    energy = ["energy=0.5,0.02,0.07"] * (year == 2023)
    out = enter(tau2022, *TINY, *energy, "--year", str(year))
    check_counts(out, year)
    config = of(SOURCE, year)
    spec = DataSpec(audio=config.audio, mels=config.mels, frames=config.frames, validation=0)
    scenes = load(tau2022, spec, torch.device("cpu"), Console(quiet=True), cache=out / "cache")
    table = scenes.test.listing.table
    held = system.read(out)
    found = evaluate(
        held.probabilities(scenes.test.x), scenes.test.y, held.classes,
        devices=table["device"], cities=table["city"],
    )  # fmt: skip
    assert found.data() == said_of(out)["result"]
    package = next((out / "submission" / "task1").iterdir())
    assert not check_package(package, form, [Path(name).name for name in table["file"]])


@pytest.mark.slow
@pytest.mark.data
def test_the_five_networks_of_2024(tau2022: Path, enter: Any) -> None:
    """Subsets that are drawn, as the official lists name clips that are not here."""
    out = enter(tau2022, *TINY, "--year", "2024")
    trained = []
    for percent in FORM2024.splits:
        folder = out / f"split_{percent}"
        check_counts(folder, 2024)
        trained.append(int((folder / "report.md").read_text().split(" trained on")[0].split()[-1]))
    assert trained == sorted(set(trained))
    assert trained[-1] == 120
    package = next((out / "submission" / "task1").iterdir())
    names = (out / "split_5" / "test_list.txt").read_text().split()
    assert not check_package(package, FORM2024, [Path(name).name for name in names])
    assert "| mean: the score of 2024 | 49.63 |" in (out / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.data
def test_a_network_a_device_of_2025(
    tau2022: Path, enter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The organisers' own check of complexity runs on the package, from its four functions."""
    out = enter(tau2022, *TINY, "--year", "2025", "--split", "100")
    check_counts(out, 2025)
    root = out / "submission" / "Lastname_INST_task1"
    said = json.loads((root / "Lastname_INST_task1" / "ckpts" / "system.json").read_text())
    assert said["devices"] == ["a", "b", "c", "s1", "s2", "s3"], "none is trained on s4 to s6"
    assert not check_meta(root / "Lastname_INST_task1_1.meta.yaml", FORM2025)
    filled = read_plain(root / "Lastname_INST_task1_1.meta.yaml")
    assert filled["system"]["description"]["num_models_at_inference"] == 7
    monkeypatch.syspath_prepend(root)
    api = __import__("Lastname_INST_task1.Lastname_INST_task1_1", fromlist=["predict"])
    model = api.load_model()
    dummy = str(root / "Lastname_INST_task1" / "resources" / "dummy.wav")
    for x, device in zip(
        api.load_inputs([dummy] * 2, ["a", "s7"], model), ["a", "s7"], strict=True
    ):
        assert x.shape == (1, 1, 256, 65)
        network = api.get_model_for_device(model, device).float()
        # As complexity.py of the organisers counts; what it says of integers is told in README.
        assert torchinfo.summary(network, input_size=tuple(x.shape), verbose=0) is not None
        assert sum(p.numel() * p.element_size() for p in network.parameters()) <= 128_000
    for device in said["devices"]:
        result = compressor.load(out / f"device-{device}" / "model.safetensors")
        assert of_year(2025).check(result, torch.zeros(1, 1, 256, 65)).met
    report = (out / "report.md").read_text()
    assert "| accuracy, a network a device | 51.89 % |" in report
    assert "`submission/Lastname_INST_task1`" in report


@pytest.mark.slow
@pytest.mark.data
def test_clips_of_another_year_do_for_a_trial(shared_data: Path, enter: Any) -> None:
    """Nine stereo clips of ten seconds in three classes, without lists."""
    data = shared_data / "TAU-urban-acoustic-scenes-2020-3class-development-mini"
    if not data.is_dir():
        pytest.skip(f"no TAU clips at {data}")
    out = enter(data, *TINY, "--year", "2024", "--split", "100")
    assert said_of(out)["result"]["classes"] == ["indoor", "outdoor", "transportation"]
    report = (out / "report.md").read_text()
    assert "3 test clips, 6 trained on" in report
    assert "the forms are about 10 scenes, the data have 3" in report


@pytest.mark.data
@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--year", "2021"], "^--year 2021: there are 2022"),
        (["--with", "depth=3"], "^--with depth=3: .* has no argument 'depth'"),
        (["--teacher", "none.npy"], "^There is no none.npy"),
        (["responses=nowhere"], "^nowhere has no wav file"),
        (["budget.macs=40e6"], "^macs <= 40,000,000 was asked for, above the rule"),
        (
            ["--split", "5", "lists=nowhere"],
            "'lists=nowhere' is no percentage: settings of the run",
        ),
        (["--split", "five"], "'five' is no percentage"),
        (["--year", "2019"], "^--year 2019: there are 2022"),
        (["--with", "depth=3", "--with", "hidden=3"], "^--with depth=3: .*'depth'"),
        (["--split", "5", "--split", "10"], "argument --split: stands there twice: write all"),
        (["budget.params=20"], "params <= 20"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_any_sound(
    tau2022: Path,
    enter: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    match: str,
) -> None:
    monkeypatch.setattr(command, "scenes_of", None)
    with pytest.raises(SystemExit, match="2"):
        enter(tau2022, *words)
    assert re.search(match, capsys.readouterr().err)
