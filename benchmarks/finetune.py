"""What is the fine-tune of `fit` worth: its length, and distillation from the dense network?

The two networks and two budgets of `benchmarks.objectives`, through `compressor.fit` with its
default choice of widths; trained on folds 1-3 of ESC-50, compared on fold 4. Fold 5 is not read.

    python -m benchmarks.dense --net A --seed 0 1 2     # once; likewise B
    python -m benchmarks.finetune --run                 # every run is kept, a killed call goes on
    python -m benchmarks.finetune                       # the table, into benchmarks/finetune.md
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import torch

from benchmarks import dense
from benchmarks.objectives import BUDGETS, FINE_TUNE, Case, spread
from compressor import Distill, FineTune, Prune, Recalibrate, fit
from compressor.storage import write_bytes
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy

RUNS = dense.ROOT / "benchmarks" / "records" / "finetune"
TABLE = Path(__file__).with_suffix(".md")
SEEDS = (0, 1, 2)
TUNES: dict[str, FineTune] = {
    "8 epochs": FineTune(epochs=8),
    "30 epochs": FineTune(epochs=30),
    "30 epochs, distilled": FineTune(epochs=30, distill=Distill()),
}
REFERENCE = "30 epochs"
CELLS = [(net, budget) for net in sorted(dense.NETS) for budget in BUDGETS]


def file(case: Case, name: str) -> Path:
    """Where the record of one run lies."""
    words = name.replace(",", "").replace(" ", "-")
    return RUNS / f"{case.net}-{case.budget}-seed{case.seed}-{words}.json"


def run(case: Case, tune: FineTune) -> dict[str, float]:
    """Compress one dense network and fine-tune it."""
    start = process_time()
    data = dense.features(dense.TRAIN_FOLDS)
    result = fit(
        dense.load(case.net, case.seed).train(),
        Epochs(*data, dense.CLASSES, FINE_TUNE[case.net], seed=100 + case.seed),
        budget=case.caps,
        schedule=[Prune(), Recalibrate(), tune],
        seed=case.seed,
    )
    return {
        "params": result.report.after.params,
        "macs": result.report.after.macs,
        "validation": accuracy(result.model, *dense.features(dense.VALIDATION_FOLDS)),
        "cpu_seconds": process_time() - start,
    }


def run_all(nets: list[str], seeds: list[int]) -> None:
    """Make every run that has no record yet."""
    cells = [cell for cell in CELLS if cell[0] in nets]
    for (name, tune), seed, cell in itertools.product(TUNES.items(), seeds, cells):
        case = Case(*cell, seed)
        place = file(case, name)
        if not place.exists():
            record = run(case, tune)
            write_bytes(place, json.dumps(record, indent=2).encode() + b"\n")
            print(case, name, record, flush=True)


def values(cell: tuple[str, str], name: str, key: str) -> np.ndarray:
    """One number of every seed's record."""
    return np.array([json.loads(file(Case(*cell, s), name).read_text())[key] for s in SEEDS])


def table(cell: Callable[[tuple[str, str], str], str]) -> str:
    """One row a fine-tune, one column a network and budget."""
    head = "".join(f" | {net} {budget}" for net, budget in CELLS)
    rows = [f"| {name} | " + " | ".join(cell(c, name) for c in CELLS) + " |" for name in TUNES]
    return "\n".join([f"| fine-tune{head} |", "|---" * (1 + len(CELLS)) + "|", *rows])


def accuracies(cell: tuple[str, str], name: str) -> str:
    """Percent on fold 4."""
    return spread((100 * values(cell, name, "validation")).tolist(), ".1f")


def differences(cell: tuple[str, str], name: str) -> str:
    """Points above the reference, paired by seed."""
    found, base = (values(cell, n, "validation") for n in (name, REFERENCE))
    return "" if name == REFERENCE else spread((100 * (found - base)).tolist())


def seconds(cell: tuple[str, str], name: str) -> str:
    """CPU seconds of the whole `fit`."""
    return f"{values(cell, name, 'cpu_seconds').mean():.0f}"


def main() -> None:
    """Run, or print the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", action="store_true", help="make the runs that are missing")
    parser.add_argument("--net", nargs="+", default=sorted(dense.NETS), choices=sorted(dense.NETS))
    parser.add_argument("--seed", nargs="+", type=int, default=list(SEEDS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run:
        run_all(options.net, options.seed)
        return
    seeds = ", ".join(map(str, SEEDS))
    text = (
        "# Fine-tuning on ESC-50\n\n"
        f"torch {torch.__version__}, Python {platform.python_version()}, one thread. Accuracy on "
        f"fold 4 of ESC-50 in percent, mean (standard error) over seeds {seeds}."
        f"\n\n{table(accuracies)}\n\nAgainst {REFERENCE}, in points, paired by seed:\n\n"
        f"{table(differences)}\n\nCPU seconds of `fit` on a busy machine, to be compared within a "
        f"column:\n\n{table(seconds)}\n"
    )
    TABLE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
