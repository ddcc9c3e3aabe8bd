"""Training speed of the recipes, phase by phase, and time that the reports' runs would take.

Every recipe's own road at the report's width, batch and clip length, on log-mels of noise, two
epochs a phase, of which the faster counts. The time of the whole run follows from the report's
epochs and the clips of TAU's training list. What a pass over the data costs without a network says
whether the augmentation or the network is the bottleneck.

    python -m benchmarks.speed.recipes --device cuda --clips 4096 --precision bf16 --compile
    python -m benchmarks.speed.recipes --clips 48 --seconds 1     # small, on a CPU

Into recipes-<device>.md beside this file; with `--seconds` only shown, but for `--write`.
"""

from __future__ import annotations

import resource
import tempfile
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console

from benchmarks.common.command import parser, started
from benchmarks.common.tables import page, publish, table, versions
from models import LinearMoments
from recipes import dcase2020, dcase2021, dcase2022
from recipes.data.listing import Listing
from recipes.running.command import PRECISIONS, RunContext, compiled, launched, usable
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Part, Scenes
from recipes.training.epochs import Epochs
from recipes.training.training_plans import Plan

EPOCHS = 2


@dataclass(frozen=True)
class Road:
    """A recipe by its year.

    Attributes:
        config: The report's settings with `EPOCHS` of every phase.
        clips: Of TAU's training list, of so many `classes`.
        members: Networks of the submission.
        epochs: Of the report, by phase of training.
        compress: What is measured.
    """

    name: str
    config: Any
    classes: int
    clips: int
    members: int
    epochs: dict[str, int]
    compress: Callable[[RunContext[Any], Scenes], object]


def _compress_2022(context: RunContext[Any], scenes: Scenes) -> object:
    linear = LinearMoments(context.config.mels.mels, num_classes=10, frames=context.config.frames)
    linear = linear.to(context.device)  # its solution takes no part in the speed
    return dcase2022.compress(context, scenes, linear)


C20, C21, C22 = dcase2020.Config(), dcase2021.Config(), dcase2022.Config()
few = partial(replace, epochs=EPOCHS)
"""The same settings of a phase, for few epochs."""
ROADS = (
    Road(
        "2020", replace(C20, train=few(C20.train), tune=few(C20.tune)), 3, 9_185, 1,
        {"Train": C20.train.epochs, "FineTune": C20.tune.epochs}, dcase2020.compress,
    ),
    Road(
        "2021",
        replace(C21, train=few(C21.train, warmup=1), tune=EPOCHS, round=EPOCHS, members=1),
        10, 13_962, C21.members,
        {"Train": C21.train.epochs, "FineTune": C21.tune, "Int8": C21.round},
        lambda context, scenes: dcase2021.compress(context, scenes, 0),
    ),
    Road(
        "2022",
        replace(
            C22, train=few(C22.train, warmup=1), rows=few(C22.rows, fine_tune=1),
            filters=few(C22.filters), round=few(C22.round),
        ),
        10, 139_620, 1,
        {
            "Train": C22.train.epochs,
            "FrequencyMask": C22.rows.epochs + C22.rows.fine_tune,
            "FilterPruning": C22.filters.length - 1,  # one part removes
            "FineTune": C22.tune.epochs,
            "Int8": C22.round.epochs,
        },
        _compress_2022,
    ),
)  # fmt: skip


def noise(config: Any, classes: int, clips: int, device: torch.device) -> Scenes:
    """Log-mels of the recipe's shape, as many of each class, and nothing to judge on."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (clips, config.audio.channels, config.mels.mels, config.frames)
    x = torch.randn(shape, generator=generator, device=device)
    y = torch.arange(clips, device=device) % classes
    names = tuple(str(label) for label in range(classes))
    part = Part(x, y, Listing(Path(), pd.DataFrame({"label": y.cpu().numpy()}), names))
    return Scenes("noise", generated=True, train=part, validation=None, test=part)


def clock(device: torch.device) -> float:
    """Seconds, when everything asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def passing(scenes: Scenes, plan: Plan, device: torch.device) -> float:
    """Seconds of a pass over the data without a network."""
    batches = Epochs(scenes.train.x, scenes.train.y, len(scenes.classes), plan, seed=0)
    times = [clock(device)]
    for _ in range(EPOCHS):
        deque(batches, maxlen=0)  # goes through it and keeps nothing
        times.append(clock(device))
    return min(np.diff(times))


def measure(road: Road, context: RunContext[Any], clips: int) -> dict[str, Any]:
    """Clips a second in every phase, and the share of a pass without a network."""
    config, device = context.config, context.device
    scenes = noise(config, road.classes, clips, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    road.compress(context, scenes)
    log = pd.read_json(context.folder.path / "metrics.jsonl", lines=True)
    best = log.groupby("phase", sort=False)["seconds"].min()
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    else:
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    augmenting = passing(scenes, config.train, device) / best["Train"]
    return {"rates": dict(clips / best), "memory": memory, "augmenting": augmenting}


def rows(road: Road, found: dict[str, Any], seconds: float) -> list[list[str]]:
    """A line a phase, and one for the run."""
    lines: list[list[str]] = []
    whole = 0.0
    for phase, rate in found["rates"].items():
        hours = road.epochs[phase] * road.clips * road.members / rate / 3600
        whole += hours
        lines.append([road.name, phase, f"{rate:,.0f}", str(road.epochs[phase]), f"{hours:,.1f}"])
    more = f"{found['memory'] / 2**30:.1f} GiB, {found['augmenting']:.0%} of an epoch augmentation"
    return [*lines, [road.name, f"all, {seconds:g} s clips ({more})", "", "", f"{whole:,.1f}"]]


def report(options: Namespace, device: torch.device) -> str:
    """The table."""
    fabric = launched(device, 1, options.precision)
    lines: list[list[str]] = []
    for road in (road for road in ROADS if road.name in options.road):
        config = replace(road.config, seconds=options.seconds or road.config.seconds)
        with tempfile.TemporaryDirectory() as folder:
            context = RunContext(
                config, None, RunFolder(Path(folder)), device, fabric, Console(quiet=True),
                fast=False, compiler=compiled if options.compile else None,
            )  # fmt: skip
            lines += rows(road, measure(road, context, options.clips), config.seconds)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one CPU thread"
    return page(
        "# How fast the recipes train",
        f"{name}, {versions(threads=f'precision {options.precision}')}"
        f"{', torch.compile' * options.compile}, {options.clips:,} clips. Hours: of all epochs of "
        "the report, on TAU's training list, all networks. Memory: the most so far, of this "
        "process on a CPU.",
        table(("recipe", "phase", "clips a second", "epochs", "hours"), lines),
    )


def main() -> None:
    """Measure every recipe."""
    made = parser(__doc__, road=[road.name for road in ROADS])
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--precision", choices=list(PRECISIONS), default="32")
    made.add_argument("--compile", action="store_true")
    made.add_argument("--clips", type=int, default=2048)
    made.add_argument("--seconds", type=float, help="of a clip, instead of the report's")
    made.add_argument("--write", action="store_true", help="the table, also of short clips")
    options = started(made)
    device = usable(options.device)
    path = Path(__file__).with_name(f"recipes-{device.type}.md")
    written = options.write or options.seconds is None
    publish(report(options, device), path if written else None)


if __name__ == "__main__":
    main()
