"""The package of 2025: its front end, its networks, and that a wrong one is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

import compressor
from compressor import Budget, Int8
from compressor.budget import Cost
from recipes.data.audio import AudioFormat, decode
from recipes.features.logmel import (
    BASELINE_2022,
    BASELINE_2024,
    FLOOR,
    MelSettings,
    chosen_filters,
    framing_window,
    log_mels,
)
from recipes.judging.system import System
from recipes.submission.inference import (
    Answer,
    Entry,
    Trial,
    asked,
    check_inference,
    compared,
    write_inference,
)
from recipes.submission.inference_module import GENERAL, LogMel
from recipes.submission.output import check_output

MELS = MelSettings(sample_rate=16_000, hop=0.064, level=-5.0, spread=3.0)
CLASSES = ("bus", "park", "tram")
CPU = torch.device("cpu")
FRAMES = 15
COST = Cost(params=500, nonzero=500, macs=10_000, bytes=500)


@pytest.mark.parametrize("mels", [MELS, BASELINE_2022, BASELINE_2024], ids=["own", "2022", "2024"])
def test_the_modules_front_end_is_that_of_training(mels: MelSettings) -> None:
    rate, draws = mels.sample_rate, torch.Generator().manual_seed(0)
    audio = (torch.randn(2, rate, generator=draws) * 3000).to(torch.int16)
    tensors = {"window": framing_window(mels), "filters": chosen_filters(mels, None)}
    said = {
        "hop": mels.hop_samples, "exponent": mels.exponent, "level": mels.level,
        "spread": mels.spread, "floor": FLOOR, "frames": 40,
    }  # fmt: skip
    found = LogMel(tensors, said)(audio.float() / 32_768)
    wanted = log_mels(audio[:, None], mels, CPU)[..., :40]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def network(seed: int, file: Path) -> Path:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    x = torch.randn(4, 1, 64, FRAMES)
    for _ in range(20):  # statistics as of a trained network
        model(x)
    result = compressor.fit(
        model, [(x, torch.tensor([0, 1, 2, 0]))], budget=Budget(macs=1e9),
        schedule=[Int8(epochs=0)], progress=False,
    )  # fmt: skip
    result.write(file)
    return file


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    folder = tmp_path_factory.mktemp("networks")
    files = {name: network(seed, folder / f"{name}.safetensors") for seed, name in
             enumerate((GENERAL, "a", "s1"))}  # fmt: skip
    audio = AudioFormat(rate=16_000, seconds=1)
    return Entry("Lastname_INST_task1_1", System(CLASSES, audio, MELS, FRAMES, ()), files, COST)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Clips of other rates and channels."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    files = [folder / "one.wav", folder / "two.wav", folder / "three.wav"]
    for path, rate, shape in zip(
        files, (16_000, 44_100, 48_000), [(16_000,), (44_100,), (48_000, 2)], strict=True
    ):
        soundfile.write(path, 0.1 * rng.standard_normal(shape), rate, subtype="PCM_24")
    audio = AudioFormat(rate=16_000, seconds=1)
    clips = torch.from_numpy(np.stack([decode(path, audio) for path in files]))
    return Trial(files, ["a", "s5", "s1"], log_mels(clips, MELS, CPU)[..., :FRAMES])


def written(tmp_path: Path, entry: Entry, trial: Trial) -> Path:
    names = [path.name for path in trial.files]
    return write_inference(tmp_path, entry, trial, names, np.full((3, 3), 1 / 3))


@pytest.mark.slow
def test_a_package_is_written_checked_and_found_wrong(
    tmp_path: Path, entry: Entry, trial: Trial
) -> None:
    folder = written(tmp_path, entry, trial)
    assert folder == tmp_path / "Lastname_INST_task1"
    assert not list(folder.rglob("__pycache__"))
    assert not list(tmp_path.glob(".*")), "no scratch stays"
    predictions = folder / "predictions" / "Lastname_INST_task1_1"
    assert not check_output(predictions / "output.csv", CLASSES)
    said = json.loads((predictions / "complexity.json").read_text())
    assert said["per_device"]["s10"] == {"MACs": 10_000, "Params": 500}
    assert (said["max_MACs"], said["max_Params"]) == (10_000, 500)
    assert written(tmp_path, entry, trial) == folder, "one of an earlier call stays"

    answer = asked(folder, entry, trial)
    assert isinstance(answer, Answer)
    assert not compared(answer, entry, trial)
    other = replace(trial, x=trial.x + 0.1)
    assert "its log-mels differ by up to 0.1" in compared(answer, entry, other)[0]
    swapped = replace(entry, files={**entry.files, "a": entry.files[GENERAL]})
    problems = compared(answer, swapped, trial)
    assert ["predict" in problems[0], "get_model_for_device" in problems[1]] == [True, True]
    renamed = replace(entry, system=replace(entry.system, classes=("park", "bus", "tram")))
    assert "its classes are" in compared(answer, renamed, trial)[0]
    shorter = replace(answer, inputs=answer.inputs[..., 1:])
    assert "its inputs are (4, 1, 64, 14)" in compared(shorter, entry, trial)[0]
    inside = folder / "Lastname_INST_task1"
    (inside / "ckpts" / "s1.safetensors").unlink()
    assert "FileNotFoundError" in check_inference(folder, entry, trial)[0]
    code = inside / "Lastname_INST_task1_1.py"
    code.write_text(code.read_text().replace("import compressor", "import compressor, recipes", 1))
    network(2, inside / "ckpts" / "s1.safetensors")
    assert "it imports recipes, which nobody else has" in check_inference(folder, entry, trial)


@pytest.mark.slow
def test_a_package_that_would_be_wrong_does_not_appear(
    tmp_path: Path, entry: Entry, trial: Trial
) -> None:
    with pytest.raises(ValueError, match=r"would not do what was trained:\n  its log-mels differ"):
        written(tmp_path, entry, replace(trial, x=trial.x + 1))
    assert not list(tmp_path.iterdir())
