"""What is the fine-tune of `fit` worth: its length, and distillation from the dense network?

The two networks of `benchmarks.objectives` at the deep budget (15 % of the parameters, 25 % of the
MACs), through `compressor.fit` with its default choice of widths; trained on folds 1-3 of ESC-50,
compared on fold 4. Fold 5 is not read.

    python -m benchmarks.dense --net A --seed 0 1 2     # once; likewise B
    python -m benchmarks.finetune --run                 # every run is kept, a killed call goes on
    python -m benchmarks.finetune                       # the table, into benchmarks/finetune.md
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from pathlib import Path
from time import process_time

import numpy as np
import torch

from benchmarks import dense
from benchmarks.objectives import FINE_TUNE, Case
from compressor import Distill, FineTune, Prune, Recalibrate, fit
from recipes.training import Epochs, accuracy

RUNS = dense.ROOT / "benchmarks" / "records" / "finetune"
TABLE = Path(__file__).with_suffix(".md")
SEEDS = (0, 1, 2)
TUNES: dict[str, FineTune] = {
    "8 epochs": FineTune(epochs=8, distill=None),
    "30 epochs": FineTune(epochs=30, distill=None),
    "30 epochs, distilled": FineTune(epochs=30, distill=Distill()),
}
REFERENCE = "30 epochs"


def file(net: str, seed: int, name: str) -> Path:
    """Where the record of one run lies."""
    return RUNS / f"{net}-seed{seed}-{name.replace(', ', '-').replace(' ', '-')}.json"


def run(net: str, seed: int, tune: FineTune) -> dict[str, float]:
    """Compress one dense network and fine-tune it."""
    start = process_time()
    data = dense.features(dense.TRAIN_FOLDS)
    result = fit(
        dense.load(net, seed).train(),
        Epochs(*data, dense.CLASSES, FINE_TUNE[net], seed=100 + seed),
        budget=Case(net, "deep", seed).caps,
        schedule=[Prune(), Recalibrate(), tune],
        seed=seed,
    )
    return {
        "params": result.report.after.params,
        "macs": result.report.after.macs,
        "validation": accuracy(result.model, *dense.features(dense.VALIDATION_FOLDS)),
        "cpu_seconds": process_time() - start,
    }


def run_all(nets: list[str], seeds: list[int]) -> None:
    """Make every run that has no record yet."""
    RUNS.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for net in nets:
            for name, tune in TUNES.items():
                place = file(net, seed, name)
                if not place.exists():
                    record = run(net, seed, tune)
                    part = place.with_suffix(".part")
                    part.write_text(json.dumps(record, indent=2) + "\n")
                    part.replace(place)
                    print(net, seed, name, record, flush=True)


def mean(values: np.ndarray, form: str = ".1f") -> str:
    """Mean and standard error."""
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):{form}} ({error:.1f})"


def table() -> str:
    """Accuracy by network, difference to the reference paired by seed, CPU seconds."""
    lines = [
        "| fine-tune | "
        + " | ".join(f"{n} deep | {n}: against {REFERENCE} | {n}: CPU s" for n in dense.NETS)
        + " |",
        "|---" * (1 + 3 * len(dense.NETS)) + "|",
    ]
    for name in TUNES:
        cells = [name]
        for net in dense.NETS:
            found = [json.loads(file(net, seed, name).read_text()) for seed in SEEDS]
            base = [json.loads(file(net, seed, REFERENCE).read_text()) for seed in SEEDS]
            values = 100 * np.array([record["validation"] for record in found])
            other = 100 * np.array([record["validation"] for record in base])
            seconds = np.mean([record["cpu_seconds"] for record in found])
            cells += [mean(values), mean(values - other, "+.1f"), f"{seconds:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run, or print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", action="store_true", help="make the runs that are missing")
    parser.add_argument("--net", nargs="+", default=sorted(dense.NETS), choices=sorted(dense.NETS))
    parser.add_argument("--seed", nargs="+", type=int, default=list(SEEDS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run:
        run_all(options.net, options.seed)
        return
    head = (
        f"torch {torch.__version__}, Python {platform.python_version()}, one thread. Accuracy on "
        f"fold 4 of ESC-50 in percent, mean (standard error) over seeds "
        f"{', '.join(map(str, SEEDS))}; differences are paired by seed."
    )
    text = f"# Fine-tuning on ESC-50\n\n{head}\n\n{table()}\n"
    TABLE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
