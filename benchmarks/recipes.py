"""How fast the recipes train, phase by phase, and how long the reports' runs would take.

Every recipe's own road at the report's width, batch and clip length, on log-mels of noise (speed
does not depend on what is heard), two epochs a phase, of which the faster counts. The time of the
whole run follows from the report's epochs and the clips of TAU's training list. What a pass over
the data costs without a network says whether the augmentation or the network is the bottleneck.

    python -m benchmarks.recipes --device cuda --clips 4096 --precision bf16 --compile
    python -m benchmarks.recipes --clips 48 --seconds 1     # small, on a CPU

Without `--seconds` into benchmarks/recipes-<device>.md; with it only shown, or into recipes-cpu.md
with `--write`.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console

from compressor.storage import write_bytes
from models import LinearMoments
from recipes import dcase2020, dcase2021, dcase2022
from recipes.data.listing import Listing
from recipes.running.command import PRECISIONS, RunContext, compiled, usable
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Part, Scenes
from recipes.training.epochs import Epochs
from recipes.training.training_plans import Plan

FOLDER = Path(__file__).parent
EPOCHS = 2


@dataclass(frozen=True)
class Road:
    """A recipe.

    Attributes:
        name: Year.
        config: The report's settings.
        short: The same with `EPOCHS` of every phase.
        classes: Of its data.
        clips: Of TAU's training list.
        members: Networks of the submission.
        epochs: Of the report, by phase of training.
        compress: Its road.
    """

    name: str
    config: Any
    short: Callable[[Any], Any]
    classes: int
    clips: int
    members: int
    epochs: dict[str, int]
    compress: Callable[[RunContext[Any], Scenes], object]


def _short_2020(c: dcase2020.Config) -> dcase2020.Config:
    train, tune = replace(c.train, epochs=EPOCHS), replace(c.tune, epochs=EPOCHS)
    return replace(c, train=train, tune=tune)


def _short_2021(c: dcase2021.Config) -> dcase2021.Config:
    train = replace(c.train, epochs=EPOCHS, warmup=1)
    return replace(c, train=train, tune=EPOCHS, round=EPOCHS, members=1)


def _short_2022(c: dcase2022.Config) -> dcase2022.Config:
    return replace(
        c,
        train=replace(c.train, epochs=EPOCHS, warmup=1),
        rows=replace(c.rows, epochs=EPOCHS, fine_tune=1),
        filters=replace(c.filters, epochs=EPOCHS),
        round=replace(c.round, epochs=EPOCHS),
    )


def _compress_2022(context: RunContext[Any], scenes: Scenes) -> object:
    linear = LinearMoments(context.config.mels.mels, num_classes=10, frames=context.config.frames)
    linear = linear.to(context.device)  # its solution takes no part in the speed
    return dcase2022.compress(context, scenes, linear)


C20, C21, C22 = dcase2020.Config(), dcase2021.Config(), dcase2022.Config()
ROADS = (
    Road(
        "2020", C20, _short_2020, 3, 9_185, 1,
        {"Train": C20.train.epochs, "FineTune": C20.tune.epochs}, dcase2020.compress,
    ),
    Road(
        "2021", C21, _short_2021, 10, 13_962, C21.members,
        {"Train": C21.train.epochs, "FineTune": C21.tune, "Int8": C21.round},
        lambda context, scenes: dcase2021.compress(context, scenes, 0),
    ),
    Road(
        "2022", C22, _short_2022, 10, 139_620, 1,
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


def settled(device: torch.device) -> float:
    """The clock, when everything asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def passing(scenes: Scenes, plan: Plan, device: torch.device) -> float:
    """Seconds of a pass over the data without a network."""
    batches = Epochs(scenes.train.x, scenes.train.y, len(scenes.classes), plan, seed=0)
    found: list[float] = []
    for _ in range(EPOCHS):
        began = settled(device)
        for _ in batches:
            pass
        found.append(settled(device) - began)
    return min(found)


def measure(road: Road, context: RunContext[Any], clips: int) -> dict[str, Any]:
    """Clips a second in every phase, and the share of a pass without a network."""
    config, device = context.config, context.device
    scenes = noise(config, road.classes, clips, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    road.compress(context, scenes)
    best: dict[str, float] = {}
    for line in (context.folder.path / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        best[entry["phase"]] = min(entry["seconds"], best.get(entry["phase"], entry["seconds"]))
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    else:
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    augmenting = passing(scenes, config.train, device) / best["Train"]
    return {
        "rates": {phase: clips / seconds for phase, seconds in best.items()},
        "memory": memory,
        "augmenting": augmenting,
    }


def rows(road: Road, found: dict[str, Any], seconds: float) -> list[str]:
    """A line a phase, and one for the run."""
    lines: list[str] = []
    whole = 0.0
    for phase, rate in found["rates"].items():
        hours = road.epochs[phase] * road.clips * road.members / rate / 3600
        whole += hours
        lines.append(
            f"| {road.name} | {phase} | {rate:,.0f} | {road.epochs[phase]} | {hours:,.1f} |"
        )
    length = f"{seconds:g} s clips"
    more = f"{found['memory'] / 2**30:.1f} GiB, {found['augmenting']:.0%} of an epoch augmentation"
    return [*lines, f"| {road.name} | all, {length} ({more}) | | | {whole:,.1f} |"]


def main() -> None:
    """Measure every recipe."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--clips", type=int, default=2048)
    parser.add_argument("--seconds", type=float, help="of a clip, instead of the report's")
    parser.add_argument("--road", nargs="+", choices=[r.name for r in ROADS])
    parser.add_argument("--write", action="store_true", help="the table, also of short clips")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = usable(options.device)
    text = report(options, device)
    print(text)
    if options.write or options.seconds is None:
        write_bytes(FOLDER / f"recipes-{device.type}.md", text.encode())


def report(options: argparse.Namespace, device: torch.device) -> str:
    """The table."""
    fabric = None
    if options.precision != "32":
        from lightning_fabric import Fabric  # noqa: PLC0415 - optional

        fabric = Fabric(accelerator=device.type, devices=1, precision=PRECISIONS[options.precision])
        fabric.launch()
    lines: list[str] = []
    for road in ROADS:
        if options.road and road.name not in options.road:
            continue
        config = road.short(road.config)
        if options.seconds:
            config = replace(config, seconds=options.seconds)
        with tempfile.TemporaryDirectory() as folder:
            context = RunContext(
                config, None, RunFolder(Path(folder)), device, fabric, Console(quiet=True),
                fast=False, compiler=compiled if options.compile else None,
            )  # fmt: skip
            lines += rows(road, measure(road, context, options.clips), config.seconds)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one CPU thread"
    about = (
        f"{name}, torch {torch.__version__}, Python {platform.python_version()}, precision "
        f"{options.precision}{', torch.compile' * options.compile}, {options.clips:,} clips. "
        "Hours: of all epochs of the report, on TAU's training list, all networks. Memory: the "
        "most so far, of this process on a CPU."
    )
    return "\n".join(
        [
            "# How fast the recipes train",
            "",
            about,
            "",
            "| recipe | phase | clips a second | epochs | hours |",
            "|---|---|---|---|---|",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
