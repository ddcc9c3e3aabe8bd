"""Worth of the fine-tune of `fit`: its length, and distillation from the dense network.

The two networks and two budgets of `benchmarks.accuracy.objectives`, through `compressor.fit` with
its default widths; trained on folds 1-3 of ESC-50, compared on fold 4. Fold 5 is not read.

    python -m benchmarks.accuracy.dense --net A --seed 0 1 2  # once; likewise B
    python -m benchmarks.accuracy.finetune --run              # a killed call goes on
    python -m benchmarks.accuracy.finetune                    # the table, into finetune.md
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from time import process_time

import numpy as np

from benchmarks.accuracy import dense
from benchmarks.accuracy.objectives import BUDGETS, FINE_TUNE, Case
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.tables import listed, page, table, versions, with_error
from compressor import Distill, FineTune, Prune, Recalibrate, fit
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy

TUNES: dict[str, FineTune] = {
    "8 epochs": FineTune(epochs=8, lr=1e-3),
    "30 epochs": FineTune(epochs=30, lr=1e-3),
    "30 epochs, distilled": FineTune(epochs=30, lr=1e-3, distill=Distill()),
}
REFERENCE = "30 epochs"
CELLS = tuple(product(sorted(dense.NETS), BUDGETS))


def run(net: str, budget: str, tune: str, seed: int) -> Record:
    """Compress one dense network and fine-tune it."""
    start, case = process_time(), Case(net, budget, seed)
    data = dense.features(dense.TRAIN_FOLDS)
    result = fit(
        dense.load(net, seed).train(),
        Epochs(*data, dense.CLASSES, FINE_TUNE[net], seed=100 + seed),
        budget=case.caps,
        schedule=[Prune(), Recalibrate(), TUNES[tune]],
        seed=seed,
    )
    return {
        "params": result.report.after.params,
        "macs": result.report.after.macs,
        "validation": accuracy(result.model, *dense.features(dense.VALIDATION_FOLDS)),
        "cpu_seconds": process_time() - start,
    }


def report(found: Records) -> str:
    """The tables."""

    def values(field: str, cell: tuple[str, str], tune: str) -> np.ndarray:
        return found.values(field, net=cell[0], budget=cell[1], tune=tune)

    def difference(cell: tuple[str, str], tune: str) -> str:
        ours, base = (values("validation", cell, name) for name in (tune, REFERENCE))
        return "" if tune == REFERENCE else with_error(100 * (ours - base))

    return page(
        "# Fine-tuning on ESC-50",
        f"{versions()}. Accuracy on fold 4 of ESC-50 in percent, mean (standard error) over seeds "
        f"{listed(SEEDS)}.",
        grid(lambda cell, tune: with_error(100 * values("validation", cell, tune), ".1f")),
        f"Against {REFERENCE}, in points, paired by seed:",
        grid(difference),
        "CPU seconds of `fit` on a busy machine, to be compared within a column:",
        grid(lambda cell, tune: f"{values('cpu_seconds', cell, tune).mean():.0f}"),
    )


def grid(content: Callable[[tuple[str, str], str], str]) -> str:
    """One row a fine-tune, one column a network and budget."""
    head = ["fine-tune", *map(" ".join, CELLS)]
    return table(head, ([tune, *(content(cell, tune) for cell in CELLS)] for tune in TUNES))


def main() -> None:
    """Run, or print the tables."""
    options = started(recording(__doc__, net=sorted(dense.NETS)))
    runs = every(run, options.seed, net=options.net, budget=BUDGETS, tune=TUNES)
    run_or_report(__file__, options, runs, report)


if __name__ == "__main__":
    main()
