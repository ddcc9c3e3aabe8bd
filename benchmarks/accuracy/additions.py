"""What a teacher, cuts in several steps, regrowth and the like bring to a fine-tune of ten epochs.

The dense networks of `benchmarks.accuracy.grounds` under two joint budgets, cut by one way to
choose widths and repaired, at the rate of the dense training. Every row has ten epochs in all: what
cuts in several steps train between them, or rounds of regrowth (`benchmarks.accuracy.regrowth`)
before them, is taken off the end. Compared on the validation part; the
test part is not read.

    python -m benchmarks.accuracy.grounds --run    # once
    python -m benchmarks.accuracy.additions --run  # a killed call goes on
    python -m benchmarks.accuracy.additions        # the table, into additions.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from time import process_time

import torch
from torch import nn

from benchmarks.accuracy.contenders import BUDGETS, caps, pruning, sizes
from benchmarks.accuracy.grounds import NETS, USUAL, dense_seed, load, loader
from benchmarks.accuracy.regrowth import Round, dormant, soft
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.tables import page, table, versions, with_error
from compressor import Distill, FineTune, Recalibrate, fit
from compressor.run.phase import Phase
from recipes.training.loop import accuracy

EPOCHS = 10
STRUCTURE = "residual, harmonic mean"
"""The way to choose widths of `benchmarks.accuracy.contenders`, the same in all rows."""
PLAIN = "plain"


TUNE = FineTune(EPOCHS)


@dataclass(frozen=True)
class Addition:
    """A fine-tune, cuts before it with some epochs between two of them, and rounds of regrowth.

    Attributes:
        tune: The fine-tune; its epochs are what the rest leaves.
        cuts: Number of cuts.
        between: Epochs between two of them.
        round: One round of regrowth, an epoch each.
        rounds: Number of them, before any cut.
    """

    tune: FineTune = TUNE
    cuts: int = 1
    between: int = 0
    round: Round | None = None
    rounds: int = 0

    def begun(self, net: str, budget: str, seed: int) -> nn.Module:
        """The dense network, after the rounds of regrowth."""
        model = load(net, dense_seed(net, seed))
        if self.round is not None:
            for number in range(self.rounds):
                model = self.round(model, net, budget, pruning(STRUCTURE), 1000 * number + seed)
        return model

    def schedule(self, lr: float) -> list[Phase]:
        """The phases at a rate."""
        cut = replace(
            pruning(STRUCTURE), steps=self.cuts, epochs=self.between, lr=lr,
            distill=self.tune.distill,
        )  # fmt: skip
        rest = EPOCHS - (self.cuts - 1) * self.between - self.rounds
        return [cut, Recalibrate(), replace(self.tune, epochs=rest, lr=lr)]


TAUGHT = replace(TUNE, distill=Distill())
ADDITIONS = {
    PLAIN: Addition(),
    "teacher": Addition(TAUGHT),
    "teacher of half the weight": Addition(replace(TUNE, distill=Distill(weight=0.35))),
    "two cuts": Addition(cuts=2, between=2),
    "four cuts": Addition(cuts=4, between=1),
    "four cuts and a teacher": Addition(TAUGHT, cuts=4, between=1),
    "regrowth, two rounds": Addition(round=dormant, rounds=2),
    "regrowth, four rounds": Addition(round=dormant, rounds=4),
    "soft cuts, four rounds": Addition(round=soft, rounds=4),
    "averaged weights": Addition(replace(TUNE, ema=0.99)),
    "smoothed targets": Addition(replace(TUNE, smoothing=0.1)),
    "clipped gradients": Addition(replace(TUNE, clip=1.0)),
    "no weight decay": Addition(replace(TUNE, weight_decay=0.0)),
}


def run(net: str, budget: str, addition: str, seed: int) -> Record:
    """Cut one dense network and fine-tune it."""
    start, rate = process_time(), NETS[net].training.lr or USUAL
    model = fit(
        ADDITIONS[addition].begun(net, budget, seed).train(),
        loader(net, 100 + seed),
        budget=caps(net, budget),
        schedule=ADDITIONS[addition].schedule(rate),
        seed=100 + seed,
    ).model
    return {
        "validation": accuracy(model.eval(), *NETS[net].hears("validation")),
        "CPU seconds": round(process_time() - start, 1),
        "torch": torch.__version__,
    }


def cells(found: Records) -> list[tuple[str, str]]:
    """Networks and budgets that have records of every row."""

    def there(cell: tuple[str, str]) -> bool:
        net, budget = cell
        return all(found.of(net=net, budget=budget, addition=name) for name in ADDITIONS)

    return list(filter(there, product(NETS, BUDGETS)))


def paired(found: Records, net: str, budget: str, addition: str) -> list[float]:
    """Points ahead of the plain fine-tune, for every seed that has both."""
    plain = {r["seed"]: r["validation"] for r in found.of(net=net, budget=budget, addition=PLAIN)}
    return [
        100 * (r["validation"] - plain[r["seed"]])
        for r in found.of(net=net, budget=budget, addition=addition)
        if r["seed"] in plain
    ]


def level(found: Records, net: str, budget: str) -> str:
    """Accuracy in percent of the plain fine-tune, and on how many seeds."""
    records = found.of(net=net, budget=budget, addition=PLAIN)
    return f"{with_error([100 * r['validation'] for r in records], '.1f')}, n = {len(records)}"


def row(found: Records, shown: Sequence[tuple[str, str]], addition: str) -> list[str]:
    """One addition; the plain fine-tune is shown by its level."""
    if addition == PLAIN:
        return [addition, *(level(found, *cell) for cell in shown)]
    return [addition, *(with_error(paired(found, *cell, addition)) for cell in shown)]


def report(found: Records) -> str:
    """The page."""
    shown = cells(found)
    about = (
        f"{versions()}. Accuracy on the validation part after {EPOCHS} epochs in percent, mean "
        "(standard error over seeds), at the rate of the dense training; other rows in points "
        f"against it, paired by seed. {sizes()}. An accuracy over 970 clips (speech commands) has "
        "a standard error of about a point, over the 400 of a fold of ESC-50 of two."
    )
    head = ["", *map(", ".join, shown)]
    body = (
        table(head, [row(found, shown, name) for name in ADDITIONS]) if shown else "No records yet."
    )
    return page("# What additions bring to a fine-tune", about, body)


def main() -> None:
    """Run, or print the table."""
    options = started(recording(__doc__, net=NETS, budget=BUDGETS, addition=ADDITIONS))
    todo = every(
        run, options.seed, net=options.net, budget=options.budget, addition=options.addition
    )
    run_or_report(__file__, options, todo, report, seeds=SEEDS)


if __name__ == "__main__":
    main()
