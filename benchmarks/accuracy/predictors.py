"""What predicts, before any long training, how good a smaller network will be after it?

Structures of every dense network of `benchmarks.accuracy.grounds` at the deep budget: four scores x
four ways to choose widths, and one more (`benchmarks.accuracy.contenders`). Measured on 256
training clips: loss, accuracy and distance from the dense network's outputs, with new BatchNorm
statistics, after repair, and after one short epoch of fine-tuning. What they have to predict is the
accuracy after ten epochs at the rate of the dense training, of the repaired network, as in `fit`.
Spearman's rank correlation over the structures, and the points lost by whoever takes the structure
that a predictor puts first.

    python -m benchmarks.accuracy.grounds --run     # once
    python -m benchmarks.accuracy.predictors --run  # a killed call goes on
    python -m benchmarks.accuracy.predictors        # the tables, into predictors.md
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from time import process_time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.accuracy.contenders import BUDGETS, STRUCTURES, caps, pruning
from benchmarks.accuracy.grounds import CALIBRATION, NETS, judged, labelled, load, loader
from benchmarks.accuracy.keywords import ANYTHING
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.ranks import rank_correlation, regret
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.tables import listed, page, table, versions, with_error
from compressor import FineTune, Session, fit, measure
from compressor.inputs.losses import cross_entropy
from compressor.run.calibration import recalibrate
from recipes.training.loop import logits

BUDGET = "deep"
SHORT, LONG = 1, 10
"""Epochs."""


@cache
def repaired(net: str, structure: str, seed: int) -> nn.Module:
    """The dense network cut and repaired on the clips of the seed, in evaluation mode."""
    return _cut(net, structure, seed, repair=True)


def _cut(net: str, structure: str, seed: int, *, repair: bool) -> nn.Module:
    session = Session(
        load(net, seed), budget=caps(net, BUDGET), data=labelled(net, seed),
        prune=pruning(structure, repair=repair),
    )  # fmt: skip
    return session.finish().model.eval()


def tuned(net: str, structure: str, seed: int, epochs: int) -> nn.Module:
    """The repaired network after so many epochs at the rate of the dense training."""
    model = copy.deepcopy(repaired(net, structure, seed)).train()
    tune = FineTune(epochs=epochs, lr=NETS[net].training.lr, warmup=min(1.0, epochs / 4))
    data = loader(net, 100 + seed)
    made = fit(model, data, budget=ANYTHING, schedule=[tune], seed=100 + seed, verify=False)
    return made.model.eval()


def on_clips(model: nn.Module, net: str, seed: int) -> Record:
    """Loss, accuracy and distance on the clips that were cut on.

    The distance is the mean square of what outputs differ by, in parts of the variance of the dense
    network's.
    """
    x, y = map(torch.cat, zip(*labelled(net, seed), strict=True))
    found, whole = logits(model, x), logits(load(net, seed), x)
    return {
        "loss": functional.cross_entropy(found, y).item(),
        "accuracy": (found.argmax(1) == y).float().mean().item(),
        "distance": ((found - whole).square().mean() / whole.var(dim=0).mean()).item(),
    }


def before_repair(net: str, structure: str, seed: int) -> Record:
    """With new BatchNorm statistics alone."""
    model = _cut(net, structure, seed, repair=False)
    recalibrate(model, labelled(net, seed), cross_entropy)
    cost = measure(model)
    return {"params": cost.params, "macs": cost.macs, **on_clips(model, net, seed)}


def after_repair(net: str, structure: str, seed: int) -> Record:
    """Before any training."""
    return on_clips(repaired(net, structure, seed), net, seed)


def after_short(net: str, structure: str, seed: int) -> Record:
    """After a short epoch."""
    return on_clips(tuned(net, structure, seed, SHORT), net, seed)


def after_long(net: str, structure: str, seed: int) -> Record:
    """What is to be predicted."""
    return judged(tuned(net, structure, seed, LONG), net)


LAST = "after ten epochs"
MOMENTS: dict[str, Callable[..., Record]] = {
    "before repair": before_repair,
    "after repair": after_repair,
    "after one short epoch": after_short,
    LAST: after_long,
}
FIELDS = {"loss": -1, "accuracy": 1, "distance": -1}
"""What is measured before the last moment, and 1 where more is better."""


def run(net: str, structure: str, moment: str, seed: int) -> Record:
    """One structure, measured at one moment."""
    start = process_time()
    found = MOMENTS[moment](net, structure, seed)
    return {**found, "CPU seconds": round(process_time() - start, 1), "torch": torch.__version__}


def series(found: Records, net: str, moment: str, field: str, seed: int) -> list[float]:
    """One number of every structure; nothing until all of them are measured."""
    values = [
        record[field]
        for structure in STRUCTURES
        for record in found.of(net=net, moment=moment, structure=structure, seed=seed)
    ]
    return values if len(values) == len(STRUCTURES) else []


def seeds(found: Records, net: str) -> list[int]:
    """Seeds of a network whose structures are measured at all moments."""
    fields = dict.fromkeys(MOMENTS, "loss") | {LAST: "validation"}
    return [
        seed for seed in SEEDS
        if all(series(found, net, moment, field, seed) for moment, field in fields.items())
    ]  # fmt: skip


def outcome(found: Records, net: str, part: str) -> np.ndarray:
    """Accuracy in percent after fine-tuning of every structure, the mean over seeds."""
    done = seeds(found, net)
    return np.mean([[100 * v for v in series(found, net, LAST, part, s)] for s in done], axis=0)


def prediction_rows(found: Records, net: str) -> list[list[str]]:
    """One network: correlation and loss of every predictor, each seed against the mean outcome."""
    rows: list[list[str]] = []
    for moment in MOMENTS:
        for field, sign in FIELDS.items() if moment != LAST else ():
            guesses = [
                [sign * value for value in series(found, net, moment, field, seed)]
                for seed in seeds(found, net)
            ]
            cells: list[str] = []
            for part in ("validation", "test"):
                after = outcome(found, net, part).tolist()
                ranks = [rank_correlation(guess, after) for guess in guesses]
                lost = [regret(guess, after) for guess in guesses]
                cells += [with_error(ranks, "+.2f"), with_error(lost, ".1f")]
            rows.append([net, f"{field} {moment}", *cells])
    return rows


def outcome_rows(found: Records, shown: list[str]) -> list[list[str]]:
    """Accuracy after fine-tuning, a row a structure."""

    def cell(structure: str, net: str, part: str) -> str:
        records = found.of(net=net, moment=LAST, structure=structure)
        done = seeds(found, net)
        return with_error([100 * r[part] for r in records if r["seed"] in done], ".1f")

    return [
        [structure, *(cell(structure, net, p) for net in shown for p in ("validation", "test"))]
        for structure in STRUCTURES
    ]


def report(found: Records) -> str:
    """The page."""
    shown = [net for net in NETS if seeds(found, net)]
    params, macs = BUDGETS[BUDGET]
    numbers = "; ".join(f"{net} {listed(seeds(found, net))}" for net in shown)
    about = (
        f"{versions()}. {len(STRUCTURES)} structures at {params:.0%} of the parameters and "
        f"{macs:.0%} of the MACs. Predictors on {CALIBRATION} training clips. Seeds: {numbers}; in "
        "brackets standard errors over them. The outcome is the mean over seeds of the accuracy "
        f"after {LONG} epochs; the points are those lost against the best structure."
    )
    head = ("network", "predictor", "rank correlation, validation", "points lost", "test", "lost")
    rows = [row for net in shown for row in prediction_rows(found, net)]
    parts = [f"{net}, {part}" for net in shown for part in ("validation", "test")]
    return page(
        "# What predicts the accuracy after fine-tuning",
        about,
        table(head, rows),
        f"Accuracy in percent after {LONG} epochs:",
        table(("structure", *parts), outcome_rows(found, shown)) if shown else "",
    )


def main() -> None:
    """Run, or print the tables."""
    options = started(recording(__doc__, net=NETS, structure=STRUCTURES, moment=MOMENTS))
    runs = every(
        run, options.seed, net=options.net, structure=options.structure, moment=options.moment
    )
    run_or_report(__file__, options, runs, report, hidden=("test",))


if __name__ == "__main__":
    main()
