"""A finished run is scored again, from its files alone."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console

from compressor.storage import read_json, sealed
from recipes import dcase2021, evaluate
from recipes.data.tau import read_tau
from recipes.evaluate import Asked, score
from recipes.judging.system import read, write
from recipes.predict import predict_file
from recipes.running import scene_data
from recipes.running.command import RunContext
from recipes.running.conclusion import judged
from recipes.running.overrides import override
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Part
from tests.helpers.finished_run import data_set, finished, system

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tau`, `run` and `cache`; tests that change something copy it."""
    root = tmp_path_factory.mktemp("evaluate")
    data_set(root / "tau")
    (root / "run").mkdir()
    finished(root / "run", root / "tau", root / "cache")
    return root


@pytest.fixture
def place(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept, tmp_path / "copy")
    return tmp_path / "copy"


def asked(root: Path, **changes: object) -> Asked:
    return replace(Asked(root / "run", root / "tau", cache=root / "cache"), **changes)  # type: ignore[arg-type]


def test_every_figure_is_found_again(kept: Path) -> None:
    found, equal = score(asked(kept), QUIET)
    assert equal
    said = json.loads((kept / "run" / "evaluation.json").read_text())
    assert found.data() == said["result"]
    assert found.overall.clips == 12
    assert len(set(np.argmax(found.confusion, 1))) > 0
    assert found.log_loss != pytest.approx(np.log(4), abs=1e-3)  # it is not a constant answer


def test_other_sound_gives_other_figures_and_says_by_how_much(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (place / "tau" / "audio").iterdir():
        soundfile.write(
            file, 0.5 * np.random.default_rng(1).standard_normal(8000).clip(-1, 1), 8000
        )
    found, equal = score(asked(place), Console(soft_wrap=True, width=300))
    assert equal is False
    said = json.loads((place / "run" / "evaluation.json").read_text())["result"]
    text = capsys.readouterr().out
    loss = found.log_loss - said["overall"]["log_loss"]
    moved = np.abs(found.confusion - np.array(said["confusion"])).sum() // 2
    assert f"log loss {loss:+.2g}, at least {moved} of 12 clips" in text


def test_a_run_judged_on_some_clips_is_scored_on_those(place: Path) -> None:
    file = place / "run" / "test_list.txt"
    names = file.read_text().split()
    file.write_text("\n".join(names[:5]) + "\n")
    with pytest.raises(ValueError, match="names 5 clips in 5 lines and the run was judged on 12"):
        score(asked(place), QUIET)
    file.write_text("\n".join([*names, names[0]]) + "\n")
    with pytest.raises(ValueError, match="names 12 clips in 13 lines"):
        score(asked(place), QUIET)
    file.write_text("\n".join(names[:5]) + "\n")
    figures = place / "run" / "evaluation.json"
    said = read_json(figures)
    said["result"]["overall"]["clips"] = 5
    figures.write_bytes(sealed(said))
    assert score(asked(place), QUIET)[0].overall.clips == 5
    everything, equal = score(asked(place, every=True), QUIET)
    assert (everything.overall.clips, equal) == (12, None)


def damage(place: Path, name: str) -> None:
    content = bytearray((place / "run" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (place / "run" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("system.json", None, "not come to its end|no folder of a run"),
        ("system.json", "", "damaged"),
        ("system.json", '{"classes": 3}', "damaged"),
        ("system.json", "[" * 100_000, "damaged"),
        ("model.safetensors", None, "not there"),
        ("evaluation.json", None, "not come to its end"),
        ("evaluation.json", "{}", "lacks figures"),
        ("evaluation.json", "[]", "damaged"),
        ("evaluation.json", "\0", "damaged"),
        ("test_list.txt", None, "which clips"),
        ("test_list.txt", "\n", "empty"),
        ("test_list.txt", "audio/bus-nowhere-1-2-a.wav\n", "names 1 clips in 1 lines"),
    ],
)
def test_missing_and_damaged_files(place: Path, name: str, content: str | None, match: str) -> None:
    file = place / "run" / name
    file.unlink()
    if content is not None:
        file.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        score(asked(place), QUIET)


def test_a_damaged_container_is_known_by_its_checksum(place: Path) -> None:
    damage(place, "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors .*damaged or of another run.*SHA-256"):
        score(asked(place), QUIET)


@pytest.mark.parametrize("figures", [{}, {"macro": 3}, {"macro": {"accuracy": "x"}}])
def test_damaged_figures_are_no_difference(place: Path, figures: dict[str, object]) -> None:
    file = place / "run" / "evaluation.json"
    file.write_bytes(sealed(read_json(file) | {"result": figures}))
    with pytest.raises(ValueError, match="damaged"):
        score(asked(place), QUIET)


def test_a_run_on_real_sound_needs_its_data(kept: Path) -> None:
    with pytest.raises(ValueError, match=r"judged on tau: pass its folder with --data"):
        score(asked(kept, data=None), QUIET)


def test_classes_of_the_data_that_the_system_does_not_know(place: Path) -> None:
    other = replace(system(), classes=("airport", "bus", "park", "train"))
    write(place / "run", other, ["model"])
    with pytest.raises(ValueError, match=r"knows airport, bus, park, train, and .* tram"):
        score(asked(place), QUIET)
    fewer = replace(system(), classes=("airport", "bus", "park", "tram", "zoo"))
    write(place / "run", fewer, ["model"])
    with pytest.raises(ValueError, match="4 classes"):
        score(asked(place), QUIET)


def test_a_network_that_is_not_the_systems(place: Path) -> None:
    write(place / "run", replace(system(), frames=3), ["model"])
    with pytest.raises(ValueError, match=r"does not take log-mels \(12, 1, 8, 3\)"):
        score(asked(place), QUIET)
    wide = replace(system(), audio=replace(system().audio, channels=2))
    write(place / "run", wide, ["model"])
    with pytest.raises(ValueError, match=r"does not take log-mels \(12, 2, 8, 8\)"):
        score(asked(place), QUIET)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["nowhere"], "There is no folder nowhere"),
        (["RUN", "--data", "nowhere"], "no nowhere"),
        (["RUN", "--data", "TAU", "--device", "warp"], "--device warp cannot be used"),
        (["RUN", "--data", "TAU", "--onnx"], "model.onnx is not there"),
    ],
)
def test_the_command_ends_in_a_sentence(
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    match: str,
) -> None:
    known = {"RUN": str(kept / "run"), "TAU": str(kept / "tau")}
    words = [known.get(word, word) for word in arguments]
    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert match in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.data
def test_a_recipe_then_its_files_alone_on_real_clips(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2021 at a tiny width on 200 clips of TAU 2022: container, ONNX and single files agree."""
    tau = shared_data / "TAU-urban-acoustic-scenes-2022-mobile-development-mini"
    if not tau.is_dir():
        pytest.skip(f"no TAU clips at {tau}")
    pytest.importorskip("onnxruntime")
    cache = tmp_path / "cache"
    monkeypatch.setattr(dcase2021, "load", partial(scene_data.load, cache=cache))
    settings = (
        "channels=4 members=1 train.epochs=2 train.warmup=1 train.batch=12 train.bands=8 tune=1 "
        "round=1 validation=0.2 pruned=0.3"
    )
    config = override(dcase2021.fast(dcase2021.Config()), settings.split())
    folder, cpu = RunFolder(tmp_path / "run"), torch.device("cpu")
    dcase2021.main(RunContext(config, tau, folder, cpu, fabric=None, console=QUIET, fast=True))
    said = json.loads((folder.path / "evaluation.json").read_text())
    assert 12 <= said["validation"]["overall"]["clips"] <= 36

    found, equal = score(Asked(folder.path, tau, cache=cache), QUIET)
    assert equal
    assert found.overall.clips == 80
    onnx, _ = score(Asked(folder.path, tau, onnx=True, cache=cache), QUIET)
    assert onnx.log_loss == pytest.approx(found.log_loss, abs=2e-3)
    assert np.abs(onnx.confusion - found.confusion).sum() <= 2 * 2

    known, clips = read(folder.path), read_tau(tau, "test")
    each = np.stack([predict_file(known, path).mean for path in clips.paths])
    again = judged(Part(torch.empty(80), torch.from_numpy(clips.labels), clips), each)
    assert again.confusion.tolist() == said["result"]["confusion"]
    assert again.log_loss == pytest.approx(found.log_loss, abs=1e-9)
    assert each.std(0).max() > 1e-3  # the network hears a difference
