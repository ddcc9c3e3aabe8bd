"""What predicts, before any long training, how good a smaller network will be after it?

Twelve structures of every dense network of `benchmarks.accuracy.grounds` at the deep budget: three
scores x four ways to choose widths. Measured on 256 training clips: loss and accuracy with new
BatchNorm statistics, and again after one short epoch of fine-tuning; what they have to predict is
the accuracy after ten epochs at the rate of the dense training. Spearman's rank correlation over
the structures, and the points lost by whoever takes the structure that a predictor puts first.

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

from benchmarks.accuracy.contenders import BUDGETS, SCORES, WIDTHS, caps, pruning
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
def structure(net: str, scores: str, widths: str, seed: int) -> nn.Module:
    """The dense network cut on the clips of the seed, with BatchNorm's statistics of these."""
    clips = labelled(net, seed)
    session = Session(
        load(net, seed), budget=caps(net, BUDGET), data=clips, prune=pruning(scores, widths)
    )
    model = session.finish().model
    recalibrate(model, clips, cross_entropy)
    return model.eval()


def tuned(model: nn.Module, net: str, seed: int, epochs: int) -> nn.Module:
    """The network after so many epochs at the rate of the dense training."""
    tune = FineTune(epochs=epochs, lr=NETS[net].training.lr, warmup=min(1.0, epochs / 4))
    data = loader(net, 100 + seed)
    made = fit(model.train(), data, budget=ANYTHING, schedule=[tune], seed=100 + seed, verify=False)
    return made.model.eval()


def on_clips(model: nn.Module, net: str, seed: int) -> Record:
    """Loss and accuracy on the clips that were cut on."""
    x, y = map(torch.cat, zip(*labelled(net, seed), strict=True))
    found = logits(model, x)
    right = (found.argmax(1) == y).float().mean()
    return {"loss": functional.cross_entropy(found, y).item(), "accuracy": right.item()}


def cut(net: str, scores: str, widths: str, seed: int) -> Record:
    """Before any training."""
    model = structure(net, scores, widths, seed)
    cost = measure(model)
    return {"params": cost.params, "macs": cost.macs, **on_clips(model, net, seed)}


def short(net: str, scores: str, widths: str, seed: int) -> Record:
    """After a short epoch."""
    model = tuned(copy.deepcopy(structure(net, scores, widths, seed)), net, seed, SHORT)
    return on_clips(model, net, seed)


def long(net: str, scores: str, widths: str, seed: int) -> Record:
    """What is to be predicted."""
    model = tuned(copy.deepcopy(structure(net, scores, widths, seed)), net, seed, LONG)
    return judged(model, net)


MOMENTS: dict[str, Callable[..., Record]] = {"cut": cut, "short": short, "long": long}
PREDICTORS = {"cut": "before repair", "short": "after one short epoch"}


def run(net: str, scores: str, widths: str, moment: str, seed: int) -> Record:
    """One structure, measured at one moment."""
    start = process_time()
    found = MOMENTS[moment](net, scores, widths, seed)
    return {**found, "CPU seconds": round(process_time() - start, 1), "torch": torch.__version__}


STRUCTURES = [(scores, widths) for scores in SCORES for widths in WIDTHS]


def series(found: Records, net: str, moment: str, field: str, seed: int) -> list[float]:
    """One number of every structure; nothing until all of them are measured."""
    values = [
        record[field]
        for scores, widths in STRUCTURES
        for record in found.of(net=net, moment=moment, scores=scores, widths=widths, seed=seed)
    ]
    return values if len(values) == len(STRUCTURES) else []


def seeds(found: Records, net: str) -> list[int]:
    """Seeds of a network whose structures are all tuned."""
    return [seed for seed in SEEDS if series(found, net, "long", "validation", seed)]


def outcome(found: Records, net: str, part: str) -> np.ndarray:
    """Accuracy in percent after fine-tuning of every structure, the mean over seeds."""
    done = seeds(found, net)
    return np.mean([[100 * v for v in series(found, net, "long", part, s)] for s in done], axis=0)


def prediction_rows(found: Records, net: str) -> list[list[str]]:
    """One network: correlation and loss of every predictor, each seed against the mean outcome."""
    rows: list[list[str]] = []
    for moment, name in PREDICTORS.items():
        for field, sign in (("loss", -1), ("accuracy", 1)):
            every_seed = [series(found, net, moment, field, seed) for seed in seeds(found, net)]
            guesses = [[sign * value for value in values] for values in every_seed if values]
            cells: list[str] = []
            for part in ("validation", "test"):
                after = outcome(found, net, part).tolist()
                ranks = [rank_correlation(guess, after) for guess in guesses]
                lost = [regret(guess, after) for guess in guesses]
                cells += [with_error(ranks, "+.2f"), with_error(lost, ".1f")]
            rows.append([net, f"{field} {name}", *cells])
    return rows


def outcome_rows(found: Records, net: str) -> list[list[str]]:
    """One network: accuracy after fine-tuning, a row a kind of scores."""
    done = seeds(found, net)
    rows: list[list[str]] = []
    for scores in SCORES:
        cells = [
            [100 * found.values("validation", net=net, moment="long", scores=scores, widths=widths,
                                seed=seed)[0] for seed in done]
            for widths in WIDTHS
        ]  # fmt: skip
        rows.append([net, scores, *(with_error(values, ".1f") for values in cells)])
    return rows


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
    after = [row for net in shown for row in outcome_rows(found, net)]
    return page(
        "# What predicts the accuracy after fine-tuning",
        about,
        table(head, rows),
        f"Validation accuracy in percent after {LONG} epochs:",
        table(("network", "scores", *WIDTHS), after),
    )


def main() -> None:
    """Run, or print the tables."""
    parser = recording(__doc__, net=NETS, scores=SCORES, widths=WIDTHS, moment=MOMENTS)
    options = started(parser)
    runs = every(
        run, options.seed, net=options.net, scores=options.scores, widths=options.widths,
        moment=options.moment,
    )  # fmt: skip
    run_or_report(__file__, options, runs, report, hidden=("test",))


if __name__ == "__main__":
    main()
