"""A recipe of a second: real `fit`, real folders, a network of a few hundred weights.

Four classes in noisy patterns instead of sound; `killed` makes its process die once, in the middle.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.data import DataLoader

from compressor import Budget, Prune, Train, fit, measure
from compressor.budget import Cost
from compressor.run.history import Epoch
from recipes.data.audio import AudioFormat
from recipes.data.listing import Listing
from recipes.features.logmel import MelSettings
from recipes.judging.system import System, scores_of, write
from recipes.running.command import RunContext
from recipes.running.conclusion import Outcome, judged, write_evaluation
from recipes.running.scene_data import Part, Scenes
from tests.helpers.tiny import scenes, tiny

CLASSES = ("airport", "bus", "park", "tram")
AUDIO = AudioFormat(rate=8000, seconds=1)
MELS = MelSettings(sample_rate=8000, window=0.128, hop=0.125, mels=8, fmax=4000.0)
FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class Config:
    """What can be changed."""

    lr: float = 0.01
    width: int = 8
    epochs: int = 2
    kept: float = 0.7  # share of the MACs
    validation: float = 0.5
    killed: bool = False
    seed: int = 0


def fast(config: Config) -> Config:
    return config


def part(count: int, seed: int) -> Part:
    x, y = scenes(count, seed=seed).tensors
    names = [CLASSES[label] for label in y]
    files = [f"audio/{name}-{place}.wav" for place, name in enumerate(names)]
    table = pd.DataFrame(
        {"file": files, "scene": names, "label": y.numpy(), "device": "a", "city": "lyon"}
    )
    return Part(x, y, Listing(Path(), table, CLASSES))


def main(context: RunContext[Config]) -> None:
    """Train, prune, judge, write; `epochs.txt` says which process was at which epoch."""
    config = context.config
    context.folder.begin(config, "toy")
    model = tiny(config.seed, config.width)
    data = Scenes(
        "toy", generated=True, train=part(96, 1), validation=part(32, 2), test=part(32, 3)
    )
    said = context.folder.path / "epochs.txt"

    def on_epoch(log: Sequence[Epoch]) -> None:
        with said.open("a") as file:
            file.write(f"{os.getpid()} {len(log)}\n")
        mark = context.folder.path / "killed"
        if config.killed and len(log) == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    result = fit(
        model,
        DataLoader(
            torch.utils.data.TensorDataset(data.train.x, data.train.y),
            batch_size=32,
            shuffle=True,
            generator=torch.Generator().manual_seed(config.seed),
        ),
        budget=Budget(macs=int(config.kept * macs_of(model))),
        schedule=[Train(epochs=config.epochs, lr=config.lr), Prune(epochs=1)],
        checkpoint=context.folder.checkpoint,
        on_epoch=on_epoch,
        seed=config.seed,
    )
    cost = result.report.after
    length = result.write(context.folder.path / "model.safetensors")
    system = System(CLASSES, AUDIO, MELS, FRAMES, (scores_of(result.model),))
    write(context.folder.path, system, ["model"])
    probabilities = system.probabilities(data.test.x)
    final = judged(data.test, probabilities)
    outcome = Outcome(data, [result], {}, {}, system, probabilities, final, [length])
    write_evaluation(context.folder.path, outcome, cost)


def macs_of(model: Any) -> int:
    cost: Cost = measure(model, (model.example_input_array,))
    return cost.macs
