"""Cost of compression in accuracy, as the reports of 2020 to 2022 claim it and as we find it.

The recipes' own roads, at the reports' widths, on two kinds of sound:

* ESC-50 as 50 classes by nine devices (`benchmarks.accuracy.ingredients`): folds 1 to 4 train, fold
  5 by all nine is reported, once. 64 bands x 51 frames (2022: 128 x 26, of which a quarter of the
  bands can go), so that a CPU can; epochs are about a tenth of the reports', learning rates of 2020
  tenfold. Nothing was tuned for it.
* Generated scenes at the size of the reports' features (256 bands; clips of one second), with the
  recipes' settings of minutes.

Beside the small networks of 2020 and 2021 on ESC-50 stands a control, the dense one trained on for
as many epochs at the same rates: else what longer training brings would be booked as pruning's.

    python -m benchmarks.accuracy.claims --run [--road 2021] [--seed 0]  # a killed call goes on
    python -m benchmarks.accuracy.claims                                 # tables, into claims.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from torch import nn

from benchmarks.accuracy.ingredients import COPIES, DEVICES, NATS, SCALED, SEEN, test, training
from benchmarks.common.command import device, recording, run_or_report, started
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.sound import CLASSES, RUNS, data_root
from benchmarks.common.tables import listed, page, table, versions, with_error
from compressor import Budget
from compressor.inputs.losses import Loss, cross_entropy
from recipes import dcase2020, dcase2021, dcase2022
from recipes.data.esc50 import read_esc50
from recipes.data.listing import Listing
from recipes.features.logmel import MELS_2021, MelSettings
from recipes.running.command import RunContext
from recipes.running.conclusion import EVALUATION
from recipes.running.run_folder import RunFolder
from recipes.running.scene_data import Part, Scenes
from recipes.running.stages import read_counts, read_network, take_stage
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy, train
from recipes.training.losses import ClassBalancedFocal
from recipes.training.paper_plans import FineTune2020, Training2020, Training2021, Training2022

SIZES = ("params", "nonzero", "macs", "bytes")
LEVELS = ("road", "stage", "accuracy", "params", "non-zero", "MACs", "bytes", "CPU seconds")
BANDS = replace(MELS_2021, hop=0.200, mels=128)
CLIP: dict[str, Any] = {"seconds": 5.0, "validation": 0.0}


@cache
def scenes(mels: MelSettings, channels: int, device: torch.device) -> Scenes:
    """ESC-50 by nine devices; its one channel is repeated where a network takes two."""
    root = data_root() / "esc50"
    classes = read_esc50(root, (1,)).classes

    def part(x: torch.Tensor, y: torch.Tensor, names: list[str]) -> Part:
        listing = Listing(root, pd.DataFrame({"device": names, "label": y.numpy()}), classes)
        return Part(x.repeat(1, channels, 1, 1).to(device), y.to(device), listing)

    x, y = training(mels)
    rest = [name for name in SEEN for _ in range(COPIES)]
    heard = [test(mels)[name] for name in DEVICES]
    there = [name for name, (_, labels) in zip(DEVICES, heard, strict=True) for _ in labels]
    unheard, labels = (torch.cat(parts) for parts in zip(*heard, strict=True))
    return Scenes(
        "ESC-50 by nine devices",
        generated=False,
        train=part(x, y, ["a"] * (len(y) - len(rest)) + rest),
        validation=None,
        test=part(unheard, labels, there),
    )


Stages = dict[str, nn.Module]


def trained_on(
    model: nn.Module, data: Scenes, plan: Any, seed: int, loss: Loss = cross_entropy
) -> nn.Module:
    """The control: the dense network after as many more epochs as the small one had."""
    model, (x, y) = model.to(data.train.x.device), (data.train.x, data.train.y)
    train(model, Epochs(x, y, CLASSES, plan, seed=1000 + seed), plan.epochs, loss=loss)
    return model


def kept(folder: RunFolder, *names: str) -> Stages:
    """Networks on the way."""
    return {name: read_network(folder.stages, name) for name in names}


def road_2020(context: RunContext[Any]) -> Stages:
    """60 % of the weights of Shared-ResNet become zero (2020, sections 5.1 and 6.1)."""
    config = dcase2020.Config(
        mels=SCALED,
        train=Training2020(epochs=30, lr=1e-3, last=1e-5, freqmix=0.0, mixup=0.0),
        tune=FineTune2020(epochs=15, lr=1e-3, last=1e-5, freqmix=0.0, mixup=0.0),
        nonzero=260_000,  # of 50 classes
        seed=context.config,
        **CLIP,
    )
    context, data = replace(context, config=config), scenes(*HEARD["2020"], context.device)
    context.begin(data.digest)
    result = dcase2020.compress(context, data)
    dense = dcase2020.network(replace(config, dense=str(context.folder.path)), CLASSES)
    clips = torch.bincount(data.train.y, minlength=CLASSES).tolist()
    loss = ClassBalancedFocal(clips, config.beta, config.gamma)
    control = trained_on(dense, data, config.tune, config.seed, loss)
    return {**kept(context.folder, "dense", "pruned"), "control": control, "result": result.model}


def road_2021(context: RunContext[Any]) -> Stages:
    """89 % of those of BC-ResNet-ASC-8, and int8, with a teacher and without (2021, 2.3, 3.3)."""
    config = dcase2021.Config(
        mels=NATS,
        train=Training2021(epochs=24, hop=NATS.hop),
        tune=8,
        round=3,
        members=1,
        nonzero=52_000,  # of 50 classes
        seed=context.config,
        **CLIP,
    )
    context, data = replace(context, config=config), scenes(*HEARD["2021"], context.device)
    context.begin(data.digest)
    result = dcase2021.compress(context, data, 0)
    nobody = replace(config.teacher, weight=0.0)
    alone = replace(config, dense=str(context.folder.path), teacher=nobody)
    apart = RunFolder(context.folder.path / "no-teacher")
    without = dcase2021.compress(replace(context, config=alone, folder=apart), data, 0)
    dense = dcase2021.network(config, data.train.x, CLASSES)
    take_stage(dense, context.folder, "dense")
    plan = replace(config.train, epochs=config.tune, lr=config.tune_lr, warmup=1)
    control = trained_on(dense, data, plan, config.seed)
    stages = kept(context.folder, "dense", "pruned")
    return {**stages, "control": control, "no teacher": without.model, "result": result.model}


def road_2022(context: RunContext[Any]) -> Stages:
    """A quarter of the bands, single filters and int8 of the tandem (2022, sections 2 and 3.3)."""
    frames = BANDS.frames(5 * BANDS.sample_rate)
    smaller = BANDS.mels * frames / (MELS_2021.mels * 34)  # than the report's input, and its MACs
    config = dcase2022.Config(
        mels=BANDS,
        train=Training2022(epochs=20, clip=frames, bands=10),
        rows=replace(dcase2022.Config().rows, keep=96),
        round=replace(dcase2022.Config().round, epochs=4),
        budget=Budget(params=128e3, macs=30e6 * smaller),
        seed=context.config,
        **CLIP,
    )
    context, data = replace(context, config=config), scenes(*HEARD["2022"], context.device)
    linear = dcase2022.linear_model(config, data, context.folder)
    result = dcase2022.compress(context, data, linear)
    return {**kept(context.folder, "linear", "dense", "rows", "pruned"), "result": result.model}


HEARD = {"2020": (SCALED, 2), "2021": (NATS, 1), "2022": (BANDS, 1)}
"""Features and channels of each road."""
ESC50 = {"2020": road_2020, "2021": road_2021, "2022": road_2022}
GENERATED = {
    "generated 2020": (dcase2020.main, dcase2020.fast(dcase2020.Config())),
    "generated 2021": (dcase2021.main, replace(dcase2021.fast(dcase2021.Config()), members=1)),
    "generated 2022": (dcase2022.main, dcase2022.fast(dcase2022.Config())),
}
"""The recipes as their commands run them without data."""
ROADS = [*ESC50, *GENERATED]


def run(road: str, seed: int, device: torch.device) -> Record:
    """One road: accuracy in percent at every stage, by device."""
    folder = RunFolder(RUNS / "claims" / f"{road.replace(' ', '-')}-seed{seed}")
    context = RunContext(seed, None, folder, device, None, Console(quiet=True), fast=False)
    start = process_time()
    if road in GENERATED:
        recipe, config = GENERATED[road]
        recipe(replace(context, config=replace(config, seed=seed), fast=True))
        said = json.loads((folder.path / EVALUATION).read_text())
        judged = {stage: ones[0] for stage, ones in said["stages"].items()}
        judged["result"] = said["result"]
        found = {stage: {"all": 100 * one["macro"]["accuracy"]} for stage, one in judged.items()}
    else:
        networks = ESC50[road](context)
        part = scenes(*HEARD[road], device).test
        found = {stage: by_device(network, part) for stage, network in networks.items()}
    return {
        "accuracy": found,
        "counts": {stage: counted(road, folder, stage) for stage in ("dense", "pruned")},
        "CPU seconds": round(process_time() - start),
        "torch": torch.__version__,
        "device": str(device),
    }


def counted(road: str, folder: RunFolder, stage: str) -> dict[str, int]:
    """Parameters, those not zero, MACs, and bytes: dense 4 each, then as the report counts."""
    counts = read_counts(folder.stages, stage)
    cost, year = counts.cost, road[-4:]
    if stage == "dense":
        size = 4 * cost.params
    elif year == "2022":
        size = counts.rule.params
    else:
        size = (dcase2020 if year == "2020" else dcase2021).size(counts).bytes
    learned = counts.filters[1] + counts.others[1]
    return {"params": cost.params, "nonzero": learned, "macs": cost.macs, "bytes": size or 0}


def by_device(model: nn.Module, part: Part) -> dict[str, float]:
    """Accuracy of the test fold by every device, in percent."""
    heard = part.listing.table["device"].to_numpy()
    rows = {name: torch.from_numpy(heard == name).to(part.y.device) for name in DEVICES}
    model = model.to(part.x.device).eval()
    return {name: 100 * accuracy(model, part.x[r], part.y[r]) for name, r in rows.items()}


@dataclass(frozen=True)
class Claim:
    """A difference in points between two stages of a road, and where a paper prints which."""

    what: str
    paper: str
    where: str
    road: str
    after: str
    before: str


CLAIMS = (
    Claim("60 % of weights zero", "-0.1 to 0.0", "2020, Table 4", "2020", "pruned", "dense"),
    Claim("the same against the control", "-", "", "2020", "pruned", "control"),
    Claim("half precision", "-", "", "2020", "result", "pruned"),
    Claim("89 % zero, int8, teacher", "-1.0", "2021, Table 4", "2021", "result", "dense"),
    Claim("the same against the control", "-", "", "2021", "result", "control"),
    Claim("the teacher", "+0.2", "2021, Table 4", "2021", "result", "no teacher"),
    Claim("a quarter of the bands", "0.0", "2022, Table 2", "2022", "rows", "dense"),
    Claim("filters, ADMM", "-0.76", "2022, Table 2", "2022", "pruned", "rows"),
    Claim("int8", "-1.70", "2022, Table 2", "2022", "result", "pruned"),
)


def mean(record: Record, stage: str) -> float:
    """Accuracy over all devices."""
    return float(np.mean(list(record["accuracy"][stage].values())))


def cell(claim: Claim, records: list[Record]) -> str:
    """The difference in points, mean and standard error; a dash without such a stage or seeds."""
    stages = records[0]["accuracy"].keys() if len(records) == len(SEEDS) else ()
    if claim.after not in stages or claim.before not in stages:
        return "-"
    return with_error([mean(r, claim.after) - mean(r, claim.before) for r in records])


def levels(road: str, records: list[Record]) -> Iterator[list[str]]:
    """Yield rows for what a road begins with and comes to."""
    for stage in records[0]["accuracy"] if len(records) == len(SEEDS) else ():
        size = records[0]["counts"].get(stage)
        sizes = [f"{size[key]:,}" if size else "" for key in SIZES]
        seconds = np.mean([r["CPU seconds"] for r in records])
        spent = f"{seconds:,.0f}" if stage == "result" else ""
        yield [road, stage, with_error([mean(r, stage) for r in records], ".1f"), *sizes, spent]


def report(found: Records) -> str:
    """The two tables."""
    records = {road: found.of(road=road) for road in ROADS}
    about = (
        f"{versions(threads='one CPU thread')}. Points on the test clips, paired by seed: mean "
        f"(standard error) over seeds {listed(SEEDS)}. ESC-50: 50 classes, fold 5 by nine devices "
        "(three of them unheard), 3,600 clips. Generated scenes: ten classes (2020: three), 360 "
        "clips, trained for a few epochs. ResidualNorm (+6.9; 2021, Table 3), 192 of 256 rows and "
        "what the other ingredients bring: benchmarks/accuracy/ingredients.md and selection.md."
    )
    levels_are = (
        "Levels, in percent; sizes are those of the first seed, bytes 4 a parameter when dense and "
        "then as the year's report counts them; CPU seconds of the whole road, the control and one "
        "more without a teacher too:"
    )
    claims = (
        [c.what, c.paper, *(cell(c, records[on + c.road]) for on in ("", "generated ")), c.where]
        for c in CLAIMS
    )
    return page(
        "# What compression costs: paper and ours",
        about,
        table(("", "paper (TAU)", "ours, ESC-50", "ours, generated", "where"), claims),
        levels_are,
        table(LEVELS, (row for road in ROADS for row in levels(road, records[road]))),
    )


def main() -> None:
    """Run, or print the tables."""
    options = started(device(recording(__doc__, road=ROADS)))
    runs = every(partial(run, device=options.device), options.seed, road=options.road)
    run_or_report(__file__, options, runs, report)


if __name__ == "__main__":
    main()
