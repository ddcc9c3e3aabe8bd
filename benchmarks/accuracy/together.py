"""Dense, pruned, int8: what a whole road costs in accuracy on ESC-50, at two budgets.

The dense networks are those of `benchmarks.accuracy.dense`, net B: `ResidualCNN`, 324,130
parameters and 57 million MACs. Settings, and the epoch of int8 training, are chosen on fold 4; fold
5 is looked at once, by the table's runs.

    python -m benchmarks.accuracy.dense --net B --seed 0 1 2  # once
    python -m benchmarks.accuracy.together --run              # a killed call goes on
    python -m benchmarks.accuracy.together                    # the table, into together.md
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time

from torch import nn

from benchmarks.accuracy import dense
from benchmarks.accuracy.objectives import FINE_TUNE
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.tables import listed, page, table, versions, with_error
from compressor import Budget, FineTune, Half, Int8, Joint, Prune, Recalibrate, fit
from compressor.inputs.copies import private_copy
from compressor.network.file import container
from compressor.phases import Phase
from compressor.run.training import Training
from recipes.training.epochs import Epochs
from recipes.training.loop import accuracy

NET = "B"
RECORDS = Path(__file__).with_suffix(".jsonl")


@dataclass(frozen=True)
class Look(Phase):
    """A phase that changes nothing, and keeps the network as it is at this point."""

    seen: list[nn.Module] = field(default_factory=list[nn.Module], compare=False)

    length = 1

    def run(self, training: Training, part: int) -> None:
        del part
        self.seen.append(private_copy(training.session.model).eval())


@dataclass(frozen=True)
class Way:
    """One way to a budget: phases before the look at floating point, and those after it."""

    budget: Budget
    phases: tuple[Phase, ...]
    last: tuple[Phase, ...]


TUNED = (Recalibrate(), FineTune(epochs=30, lr=1e-3))
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


def run(way: str, seed: int) -> Record:
    """One road from a dense network, judged on folds 4 and 5 before and after the last phase."""
    start, look = process_time(), Look()
    model = dense.load(NET, seed)
    data = dense.features(dense.TRAIN_FOLDS)
    result = fit(
        model.train(),
        Epochs(*data, dense.CLASSES, FINE_TUNE[NET], seed=100 + seed),
        budget=WAYS[way].budget,
        schedule=[*WAYS[way].phases, look, *WAYS[way].last],
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


STAGES = ("dense", "pruned", "result")
DIFFERENCES = (("pruned", "dense"), ("result", "pruned"), ("result", "dense"))
SIZES = {"params": "params", "nonzero": "non-zero", "macs": "MACs", "file": "file"}


def row(way: str, found: Records) -> list[str]:
    """One line of the table."""
    points = {stage: 100 * found.values(f"{stage}_test", way=way) for stage in STAGES}
    levels = [with_error(points[stage], ".1f") for stage in STAGES]
    paired = [with_error(points[after] - points[before]) for after, before in DIFFERENCES]
    means = [f"{found.values(key, way=way).mean():,.0f}" for key in SIZES]
    return [way, *levels, *paired, *means]


def report(found: Records) -> str:
    """The table."""
    return page(
        "# Dense, pruned, int8 on ESC-50",
        f"{versions()}. Accuracy on fold 5 in percent and differences in points, paired by seed: "
        f"mean (standard error) over seeds {listed(SEEDS)}. The last four columns are means. The "
        "seeds' papers lose 0.76 points by pruning and 1.70 by int8 (2022, Table 2).",
        table(
            ("way", *STAGES, *map(" - ".join, DIFFERENCES), *SIZES.values()),
            (row(way, found) for way in WAYS if len(found.of(way=way)) == len(SEEDS)),
        ),
    )


def main() -> None:
    """Run, or print the table."""
    options = started(recording(__doc__, way=WAYS))
    run_or_report(__file__, options, every(run, options.seed, way=options.way), report)


if __name__ == "__main__":
    main()
