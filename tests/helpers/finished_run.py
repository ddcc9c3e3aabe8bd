"""A finished run of a toy system, and a small TAU data set of noise that it was judged on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console

from compressor.budget import Cost
from compressor.network import to_network
from compressor.network.file import container
from recipes.judging.system import System, scores_of, write
from recipes.running.conclusion import Outcome, judged, write_evaluation
from recipes.running.scene_data import DataSpec, Part, Scenes, load_test
from tests.helpers.tau import table, write_meta
from tests.helpers.tiny import tiny
from tests.helpers.toy_recipe import AUDIO, CLASSES, FRAMES, MELS

RATE = 8000


def noise(seconds: float, seed: int = 0, *, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """float64 (samples, channels), coloured by the seed."""
    white = np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    slow = np.cumsum(white, axis=0)
    most = np.abs(slow).max(initial=1)
    share = (seed % 4) / 3
    return 0.1 * (share * white + (1 - share) * slow / most)


def data_set(root: Path) -> Path:
    """Two clips of each class to train on, three to test, one second each."""
    rows = [
        (f"audio/{name}-lyon-{n}-{n}-{n}-{'abc'[n % 3]}.wav", name)
        for k, name in enumerate(CLASSES)
        for n in range(100 * k, 100 * k + 5)
    ]
    train = [row for place, row in enumerate(rows) if place % 5 < 2]
    test = [row for place, row in enumerate(rows) if place % 5 >= 2]
    setup = root / "evaluation_setup"
    setup.mkdir(parents=True)
    table(setup / "fold1_train.csv", "filename\tscene_label", list(train))
    table(setup / "fold1_evaluate.csv", "filename\tscene_label", list(test))
    table(setup / "fold1_test.csv", "filename", [row[:1] for row in test])
    write_meta(root, *rows)
    (root / "audio").mkdir()
    for seed, (name, _) in enumerate(rows):
        soundfile.write(root / name, noise(1, seed), RATE)
    return root


def system(width: int = 8) -> System:
    """Of a network with random weights, in floating point."""
    return System(CLASSES, AUDIO, MELS, FRAMES, (scores_of(tiny(0, width).eval()),))


def finished(folder: Path, root: Path, cache: Path) -> Path:
    """What a recipe leaves of such a system that was judged on such a data set."""
    model = tiny(0).eval()
    container.write(to_network(model, (model.example_input_array,)), folder / "model.safetensors")
    found = system()
    write(folder, found, ["model"])
    wanted = DataSpec(audio=AUDIO, mels=MELS, frames=FRAMES, classes=len(CLASSES))
    quiet = Console(quiet=True)
    test: Part = load_test(root, wanted, None, torch.device("cpu"), quiet, cache=cache)
    scenes = Scenes(root.name, generated=False, train=test, validation=None, test=test)
    probabilities = found.probabilities(test.x)
    length = (folder / "model.safetensors").stat().st_size
    cost = Cost(params=1, nonzero=1, macs=1, bytes=1)
    final = judged(test, probabilities)
    outcome = Outcome(scenes, [], {}, {}, found, probabilities, final, [length])
    write_evaluation(folder, outcome, cost)
    return folder
