"""What predicts, before any long training, how good a smaller network will be after it?

Structures of every dense network of `benchmarks.accuracy.grounds` at the deep budget: four scores x
four ways to choose widths, and one more (`benchmarks.accuracy.contenders`). Measured on 256
training clips: loss, accuracy and distance from the dense network's outputs, with new BatchNorm
statistics, after repair, and after one short epoch of fine-tuning at the rate of the dense
training. What they have to predict is the accuracy after ten epochs, of the repaired network as in
`fit`, at the rate that is best for the structure on the validation part: records of
`benchmarks.accuracy.defaults`. Spearman's rank correlation over the structures, and the points lost
by whoever takes the structure that a predictor puts first.

    python -m benchmarks.accuracy.defaults --run --seed 0 --budget deep  # once
    python -m benchmarks.accuracy.predictors --run --seed 0              # a killed call goes on
    python -m benchmarks.accuracy.predictors                             # into predictors.md
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from itertools import product
from operator import itemgetter
from pathlib import Path
from time import process_time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.accuracy import defaults
from benchmarks.accuracy.contenders import BUDGETS, STRUCTURES, caps, pruning
from benchmarks.accuracy.defaults import EPOCHS, RATES
from benchmarks.accuracy.grounds import CALIBRATION, NETS, dense_seed, labelled, load, loader
from benchmarks.accuracy.keywords import ANYTHING
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.ranks import rank_correlation, regret
from benchmarks.common.records import SEEDS, Record, Records, every, read
from benchmarks.common.tables import listed, page, table, versions, with_error
from compressor import FineTune, Session, fit, measure
from compressor.inputs.losses import cross_entropy
from compressor.run.calibration import recalibrate
from recipes.training.loop import logits

BUDGET = "deep"


@cache
def repaired(net: str, structure: str, seed: int) -> nn.Module:
    """The dense network cut and repaired on the clips of the seed, in evaluation mode."""
    return _cut(net, structure, seed, repair=True)


def _cut(net: str, structure: str, seed: int, *, repair: bool) -> nn.Module:
    session = Session(
        load(net, dense_seed(net, seed)), budget=caps(net, BUDGET), data=labelled(net, seed),
        prune=pruning(structure, repair=repair),
    )  # fmt: skip
    return session.finish().model.eval()


def tuned(net: str, structure: str, seed: int) -> nn.Module:
    """The repaired network after an epoch at the rate of the dense training."""
    model = copy.deepcopy(repaired(net, structure, seed)).train()
    tune = FineTune(epochs=1, lr=NETS[net].training.lr, warmup=0.25)
    data = loader(net, 100 + seed)
    made = fit(model, data, budget=ANYTHING, schedule=[tune], seed=100 + seed, verify=False)
    return made.model.eval()


def on_clips(model: nn.Module, net: str, seed: int) -> Record:
    """Loss, accuracy and distance on the clips that were cut on.

    The distance is the mean square of what outputs differ by, in parts of the variance of the dense
    network's.
    """
    x, y = map(torch.cat, zip(*labelled(net, seed), strict=True))
    found, whole = logits(model, x), logits(load(net, dense_seed(net, seed)), x)
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
    return on_clips(tuned(net, structure, seed), net, seed)


MOMENTS: dict[str, Callable[..., Record]] = {
    "before repair": before_repair,
    "after repair": after_repair,
    "after one short epoch": after_short,
}
FIELDS = {"loss": -1, "accuracy": 1, "distance": -1}
"""What is measured at each, and 1 where more is better."""


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


def best_rate(tuned: Records, net: str, structure: str, seed: int) -> Record | None:
    """The fine-tune of a structure at its best rate; None until all rates were run."""
    every = tuned.of(net=net, budget=BUDGET, way=structure, seed=seed)
    records = [record for record in every if record["rate"] in RATES]
    return max(records, key=itemgetter("validation")) if len(records) == len(RATES) else None


def outcome(tuned: Records, net: str, part: str, seed: int) -> list[float]:
    """Accuracy in percent after fine-tuning of every structure; nothing until all were run."""
    records = [best_rate(tuned, net, structure, seed) for structure in STRUCTURES]
    return [] if None in records else [100 * record[part] for record in records if record]


def seeds(found: Records, tuned: Records, net: str) -> list[int]:
    """Seeds of a network whose structures are measured at all moments, and tuned."""
    return [
        seed for seed in SEEDS
        if outcome(tuned, net, "validation", seed)
        and all(series(found, net, moment, "loss", seed) for moment in MOMENTS)
    ]  # fmt: skip


def prediction_rows(found: Records, tuned: Records, net: str) -> list[list[str]]:
    """One network: correlation and loss of every predictor, with the outcome of the same seed."""
    rows: list[list[str]] = []
    for moment, (field, sign) in product(MOMENTS, FIELDS.items()):
        cells: list[str] = []
        for part in ("validation", "test"):
            pairs = [
                ([sign * value for value in series(found, net, moment, field, seed)],
                 outcome(tuned, net, part, seed))
                for seed in seeds(found, tuned, net)
            ]  # fmt: skip
            cells.append(with_error([rank_correlation(*pair) for pair in pairs], "+.2f"))
            cells.append(with_error([regret(*pair) for pair in pairs], ".1f"))
        rows.append([net, f"{field} {moment}", *cells])
    return rows


def outcome_rows(found: Records, tuned: Records, shown: list[str]) -> list[list[str]]:
    """Accuracy after fine-tuning, a row a structure."""
    columns = [
        np.array([outcome(tuned, net, part, seed) for seed in seeds(found, tuned, net)])
        for net in shown
        for part in ("validation", "test")
    ]
    return [
        [structure, *(with_error(column[:, row], ".1f") for column in columns)]
        for row, structure in enumerate(STRUCTURES)
    ]


def tables(found: Records, tuned: Records) -> str:
    """The page of what was measured before fine-tuning, and of the fine-tunes."""
    shown = [net for net in NETS if seeds(found, tuned, net)]
    params, macs = BUDGETS[BUDGET]
    numbers = "; ".join(f"{net} {listed(seeds(found, tuned, net))}" for net in shown)
    about = (
        f"{versions()}. {len(STRUCTURES)} structures at {params:.0%} of the parameters and "
        f"{macs:.0%} of the MACs. Predictors on {CALIBRATION} training clips. Seeds: {numbers}; in "
        "brackets standard errors over them where there are several. The outcome is the accuracy "
        f"after {EPOCHS} epochs at the best of the rates {', '.join(RATES)}, chosen on the "
        "validation part; the points are those lost against the best structure."
    )
    head = ("network", "predictor", "rank correlation, validation", "points lost", "test", "lost")
    rows = [row for net in shown for row in prediction_rows(found, tuned, net)]
    parts = [f"{net}, {part}" for net in shown for part in ("validation", "test")]
    return page(
        "# What predicts the accuracy after fine-tuning",
        about,
        table(head, rows),
        f"Accuracy in percent after {EPOCHS} epochs:",
        table(("structure", *parts), outcome_rows(found, tuned, shown)) if shown else "",
    )


def report(found: Records) -> str:
    """The page."""
    return tables(found, read(Path(defaults.__file__).with_suffix(".jsonl")))


def main() -> None:
    """Run, or print the tables."""
    options = started(recording(__doc__, net=NETS, structure=STRUCTURES, moment=MOMENTS))
    runs = every(
        run, options.seed, net=options.net, structure=options.structure, moment=options.moment
    )
    run_or_report(__file__, options, runs, report)


if __name__ == "__main__":
    main()
