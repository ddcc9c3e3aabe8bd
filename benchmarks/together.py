"""Dense, pruned, int8: what a whole road costs in accuracy on ESC-50, at two budgets.

The dense networks are those of `benchmarks.dense`, net B: `ResidualCNN`, 324,130 parameters and
57 million MACs. Settings, and the epoch of int8 training, are chosen on fold 4; fold 5 is looked at
once, by the table's runs.

    python -m benchmarks.dense --net B --seed 0 1 2     # once
    python -m benchmarks.together --run                 # every run is kept, a killed call goes on
    python -m benchmarks.together                       # the table, into benchmarks/together.md
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import dense
from benchmarks.objectives import FINE_TUNE, spread
from compressor import Budget, FineTune, Half, Int8, Joint, Prune, Recalibrate, fit
from compressor.inputs.copies import private_copy
from compressor.network.file import container
from compressor.phases import Phase
from compressor.run.training import Training
from compressor.storage import write_bytes
from recipes.epochs import Epochs
from recipes.training import accuracy

NET = "B"
RUNS = dense.ROOT / "benchmarks" / "records" / "together"
TABLE = Path(__file__).with_suffix(".md")
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Look(Phase):
    """A phase that changes nothing: keeps the network as it is at this point.

    Attributes:
        seen: Where it is kept.
    """

    seen: list[nn.Module] = field(default_factory=list[nn.Module], compare=False)

    def run(self, training: Training, part: int) -> None:
        del part
        self.seen.append(private_copy(training.session.model).eval())


@dataclass(frozen=True)
class Way:
    """One way to a budget.

    Attributes:
        budget: The caps.
        phases: What comes between the dense network and the look at floating point.
        last: What comes after it.
    """

    budget: Budget
    phases: tuple[Phase, ...]
    last: tuple[Phase, ...]


TUNED = (Recalibrate(), FineTune(epochs=30))
JOINT = Budget(params=128e3, macs=30e6)
FILE = Budget(bytes="64KiB", macs=30e6)
INT8 = Int8(select=True)
WAYS = {
    "128k, 30M: width, int8": Way(JOINT, (Prune(), *TUNED), (INT8,)),
    "64 KiB, 30M: width, density and bits (the default)": Way(FILE, (Joint(), *TUNED), (INT8,)),
    "32 KiB, 30M: the default": Way(replace(FILE, bytes=32 * 1024), (Joint(), *TUNED), (INT8,)),
    "16 KiB, 30M: the default": Way(replace(FILE, bytes=16 * 1024), (Joint(), *TUNED), (INT8,)),
    "64 KiB, 30M: width, int8": Way(FILE, (Prune(), *TUNED), (INT8,)),
    "64 KiB, 30M: width, half": Way(FILE, (Prune(), *TUNED), (Half(),)),
    "64 KiB, 30M: width": Way(FILE, (Prune(), *TUNED), ()),
}


def file(way: str, seed: int) -> Path:
    """Where the record of one run lies."""
    words = "".join(letter if letter.isalnum() else "-" for letter in way)
    return RUNS / f"{words}-seed{seed}.json".replace("--", "-")


def run(way: Way, seed: int) -> dict[str, Any]:
    """One road from a dense network, judged on folds 4 and 5 before and after the last phase."""
    start, look = process_time(), Look()
    model = dense.load(NET, seed)
    data = dense.features(dense.TRAIN_FOLDS)
    result = fit(
        model.train(),
        Epochs(*data, dense.CLASSES, FINE_TUNE[NET], seed=100 + seed),
        budget=way.budget,
        schedule=[*way.phases, look, *way.last],
        val=lambda network: accuracy(network, *dense.features(dense.VALIDATION_FOLDS)),
        seed=seed,
    )
    stages = {"dense": model, "pruned": look.seen[0], "result": result.model}
    folds = {"validation": dense.VALIDATION_FOLDS, "test": dense.TEST_FOLDS}
    after = result.report.after
    return {
        **{
            f"{stage}_{name}": accuracy(network, *dense.features(fold))
            for stage, network in stages.items()
            for name, fold in folds.items()
        },
        "params": after.params,
        "nonzero": after.nonzero,
        "macs": after.macs,
        "file": len(container.pack(result.network)),
        "cpu_seconds": process_time() - start,
    }


def run_all(ways: list[str], seeds: list[int]) -> None:
    """Make every run that has no record yet."""
    for seed in seeds:
        for way in ways:
            place = file(way, seed)
            if not place.exists():
                record = run(WAYS[way], seed)
                write_bytes(place, json.dumps(record, indent=2).encode() + b"\n")
                print(way, seed, record, flush=True)


def values(way: str, key: str) -> np.ndarray:
    """One number of every seed's record."""
    return np.array([json.loads(file(way, s).read_text())[key] for s in SEEDS])


def row(way: str) -> str:
    """One line of the table."""
    points = {key: 100 * values(way, f"{key}_test") for key in ("dense", "pruned", "result")}
    cells = [spread(points[key].tolist(), ".1f") for key in points]
    cells += [spread((points[a] - points[b]).tolist()) for a, b in
              (("pruned", "dense"), ("result", "pruned"), ("result", "dense"))]  # fmt: skip
    cells += [f"{values(way, key).mean():,.0f}" for key in ("params", "nonzero", "macs", "file")]
    return f"| {way} | " + " | ".join(cells) + " |"


def main() -> None:
    """Run, or print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", action="store_true", help="make the runs that are missing")
    parser.add_argument("--way", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--seed", nargs="+", type=int, default=list(SEEDS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run:
        run_all(options.way, options.seed)
        return
    head = (
        "| way | dense | pruned | result | pruned - dense | result - pruned | result - dense "
        "| params | non-zero | MACs | file |"
    )
    rows = [row(way) for way in WAYS if all(file(way, s).exists() for s in SEEDS)]
    seeds = ", ".join(map(str, SEEDS))
    text = (
        "# Dense, pruned, int8 on ESC-50\n\n"
        f"torch {torch.__version__}, Python {platform.python_version()}, one thread. Accuracy on "
        f"fold 5 in percent and differences in points, paired by seed: mean (standard error) over "
        f"seeds {seeds}. The last four columns are means. The seeds' papers lose 0.76 points by "
        "pruning and 1.70 by int8 (2022, Table 2).\n\n"
        + "\n".join([head, "|---" * 11 + "|", *rows])
        + "\n"
    )
    TABLE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
