"""What should an allocation maximise? All objectives beside Torch-Pruning, on real audio.

Two networks (A: BC-ResNet-ASC, one fully coupled trunk a stage; B: a plain residual CNN with free
inner layers) x two joint budgets x seeds. Every method gets the same dense network, the same
budget on both parameters and MACs, a recalibration of BatchNorm and the same short fine-tune:

    python -m benchmarks.dense --net A --seed 0 1 2     # once; likewise B
    python -m benchmarks.objectives --run               # every run is kept, a killed call goes on
    python -m benchmarks.objectives                     # the tables, into benchmarks/objectives.md

Trained on ESC-50 folds 1-3. Methods are compared and the default is chosen on fold 4; fold 5 is
reported once, with `--test`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import dense
from benchmarks.global_threshold import reachable_norms, threshold
from benchmarks.rival import torch_pruning_loop
from compressor import Budget, importance, measure
from compressor.allocation import (
    Additive,
    Allocation,
    LogRetention,
    LogWidth,
    Mix,
    PowerMean,
    allocate,
)
from compressor.graph.graph import Graph
from compressor.graph.structure import full
from compressor.run.calibration import recalibrate
from compressor.session import Session
from compressor.storage import write_bytes
from compressor.surgery.proof import shrink_verified
from compressor.tracing.tracer import trace
from recipes.training import accuracy

RUNS = dense.ROOT / "benchmarks" / "records" / "objectives"
TABLE = Path(__file__).with_suffix(".md")
SEEDS = (0, 1, 2)
BUDGETS = {"mild": (0.40, 0.40), "deep": (0.15, 0.25)}
"""Caps as shares of the dense network's (parameters, MACs)."""
FINE_TUNE = {name: replace(net.training, lr=1e-3) for name, net in dense.NETS.items()}
"""As the dense network was trained, at a smaller rate."""
EPOCHS = 8
REFERENCE = "uniform"
CALIBRATION = 400
"""Training clips for the Fisher scores and for the loss that `choice` compares."""


@dataclass(frozen=True)
class Case:
    """One dense network under one budget."""

    net: str
    budget: str
    seed: int

    @property
    def caps(self) -> Budget:
        """The joint budget in absolute numbers."""
        cost = measure(dense.NETS[self.net].build())
        params, macs = BUDGETS[self.budget]
        return Budget(params=int(cost.params * params), macs=int(cost.macs * macs))

    def file(self, method: str) -> Path:
        """Where the record of one run lies."""
        return RUNS / f"{self.net}-{self.budget}-seed{self.seed}-{method.replace(' ', '-')}.json"


NOTES = """\
A: BC-ResNet-ASC (32 channels), every stage one coupled trunk. B: a plain residual network, inner
layers free. Mild: 40 % of the parameters and 40 % of the MACs; deep: 15 % and 25 %. Scores are
Fisher's but for Torch-Pruning (magnitude) and the threshold (raw norms). `default` is what `fit`
does with data: `uniform`, `harmonic mean`, `log retention` and `half and half` are compared by
their loss on 400 training clips after BatchNorm recalibration, and `uniform` stays unless another
loss is 2 % lower. That set and the 2 % were chosen on fold 4; fold 5 was looked at once, after it.

No fixed objective beats one width factor in every cell: trunks want even widths, free inner layers
do not. A single run is noisy: four units moved between stages of A (deep, seed 1) changed fold 4 by
2.8 points, more than most standard errors here, which see three seeds only."""

Shrinker = Callable[[nn.Module, Case], nn.Module]


def batches(seed: int, count: int = CALIBRATION) -> list[tuple[Tensor, Tensor]]:
    """Clean training batches of 32, the same for every method."""
    x, y = dense.features(dense.TRAIN_FOLDS)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count]
    return [(x[rows], y[rows]) for rows in order.split(32)]


@cache
def traced(net: str, seed: int) -> tuple[Graph, np.ndarray]:
    """Graph and Fisher scores of one dense network."""
    model = dense.load(net, seed)
    graph = trace(model)
    tensors = dict(model.named_parameters())
    found = importance.gradients(model, batches(seed))
    return graph, importance.fisher(graph, tensors, found)


def ours(model: nn.Module, case: Case, **options: object) -> nn.Module:
    """Allocate with Fisher scores, shrink, and compare with the masked original."""
    graph, scores = traced(case.net, case.seed)
    allocation: Allocation = allocate(graph, scores, case.caps, **options)  # type: ignore[arg-type]
    return shrink_verified(model, graph, allocation.structure)[0]


def one_threshold(model: nn.Module, case: Case) -> nn.Module:
    """The 2022 report's global threshold on raw Frobenius norms of reachable filters."""
    graph, _ = traced(case.net, case.seed)
    norms = reachable_norms(graph, dict(model.named_parameters()))
    method = partial(threshold, norms=norms)
    allocation = allocate(graph, norms(full(graph)), case.caps, method=method)
    return shrink_verified(model, graph, allocation.structure)[0]


def theirs(model: nn.Module, case: Case, *, globally: bool) -> nn.Module:
    """Torch-Pruning's loop, stopped by our counter so that both tools get the same caps."""
    return torch_pruning_loop(model, lambda m: case.caps.allows(measure(m)), globally=globally)


def default(model: nn.Module, case: Case) -> nn.Module:
    """What `fit` does when nothing is asked for: a choice by the loss before fine-tuning."""
    return Session(model, budget=case.caps, data=batches(case.seed)).finish().model


METHODS: dict[str, Shrinker] = {
    "uniform": partial(ours, method="uniform", objective=LogRetention()),
    "log retention": partial(ours, objective=LogRetention()),
    "log width": partial(ours, objective=LogWidth()),
    "half and half": partial(ours, objective=Mix(0.5)),
    "harmonic mean": partial(ours, objective=PowerMean(1)),
    "power mean 2": partial(ours, objective=PowerMean(2)),
    "Torch-Pruning local": partial(theirs, globally=False),
    "Torch-Pruning global": partial(theirs, globally=True),
    "default": default,
    "additive": partial(ours, objective=Additive()),
    "threshold": one_threshold,
}


def mean_loss(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> float:
    """Cross entropy on some batches, in evaluation mode."""
    model.eval()
    with torch.no_grad():
        losses = [functional.cross_entropy(model(x), y).item() for x, y in data]
    return float(np.mean(losses))


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The loss that `recalibrate` runs its forward passes with."""
    return functional.cross_entropy(model(batch[0]), batch[1])


def run(case: Case, method: str) -> dict[str, object]:
    """One run: shrink, recalibrate, fine-tune, evaluate."""
    start = process_time()
    model = METHODS[method](dense.load(case.net, case.seed), case)
    seconds = process_time() - start
    cost, caps = measure(model), case.caps
    if not caps.allows(cost):
        raise RuntimeError(f"{method} exceeds {caps}: {cost}")
    data = batches(case.seed)
    recalibrate(model, data, loss_of)
    before = mean_loss(model, data)
    dense.fit(model, EPOCHS, FINE_TUNE[case.net], seed=100 + case.seed)
    return {
        "params": cost.params,
        "macs": cost.macs,
        "unused_params": 1 - cost.params / caps.caps["params"],
        "unused_macs": 1 - cost.macs / caps.caps["macs"],
        "calibration_loss": before,
        "validation": accuracy(model, *dense.features(dense.VALIDATION_FOLDS)),
        "test": accuracy(model, *dense.features(dense.TEST_FOLDS)),
        "shrink_cpu_seconds": seconds,
        "cpu_seconds": process_time() - start,
    }


def run_all(nets: list[str], methods: list[str], seeds: list[int]) -> None:
    """Make every run that has no record yet."""
    cases = [Case(n, budget, seed) for seed in seeds for n in nets for budget in BUDGETS]
    for method in methods:
        for case in cases:
            if not case.file(method).exists():
                record = run(case, method)
                write_bytes(case.file(method), json.dumps(record, indent=2).encode() + b"\n")
                shown = {k: round(float(str(v)), 3) for k, v in record.items() if k != "test"}
                print(case, method, shown, flush=True)


def records(fold: str) -> dict[str, dict[tuple[str, str, int], float]]:
    """Accuracy in percent by method and (net, budget, seed), of all complete cells."""
    found: dict[str, dict[tuple[str, str, int], float]] = {}
    for net in dense.NETS:
        for budget in BUDGETS:
            for seed in SEEDS:
                case = Case(net, budget, seed)
                for method in METHODS:
                    if case.file(method).exists():
                        value = json.loads(case.file(method).read_text())[fold]
                        found.setdefault(method, {})[net, budget, seed] = 100 * float(value)
    return found


def spread(values: Sequence[float], form: str = "+.1f") -> str:
    """Mean, and standard error where there are several values."""
    if len(values) < 2:
        return f"{values[0]:{form}}" if values else "-"
    return f"{np.mean(values):{form}} ({np.std(values, ddof=1) / math.sqrt(len(values)):.1f})"


def table(fold: str) -> str:
    """Mean accuracy by cell, and the paired difference to uniform with its standard error."""
    found = records(fold)
    cells = [(net, budget) for net in dense.NETS for budget in BUDGETS]
    head = [f"{net} {budget}" for net, budget in cells]
    paired = [f"{h} - uniform" for h in head]
    lines = [
        "| method | " + " | ".join(head) + " | " + " | ".join(paired) + " | all - uniform |",
        "|---" * (2 + len(head) + len(paired)) + "|",
    ]
    for method, values in found.items():
        means, differences = [], []
        for cell in cells:
            inside = {k: v for k, v in values.items() if k[:2] == cell}
            means.append(f"{np.mean(list(inside.values())):.1f}" if inside else "-")
            differences.append(
                [
                    v - found[REFERENCE][k]
                    for k, v in inside.items()
                    if k in found.get(REFERENCE, {})
                ]
            )
        everything = [d for part in differences for d in part]
        row = [method, *means, *map(spread, differences), spread(everything)]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def against_torch_pruning(fold: str) -> str:
    """The default beside Torch-Pruning's better mode (by its mean), paired by seed."""
    found = records(fold)
    parts: list[str] = []
    for net in dense.NETS:
        for budget in BUDGETS:
            cells = {
                method: np.array([v for k, v in found[method].items() if k[:2] == (net, budget)])
                for method in ("default", "Torch-Pruning local", "Torch-Pruning global")
            }
            rival = max(list(cells)[1:], key=lambda method: cells[method].mean())
            difference = spread((cells["default"] - cells[rival]).tolist())
            parts.append(f"{net} {budget} {difference} against {rival.split()[1]}")
    return f"Default against Torch-Pruning's better mode: {'; '.join(parts)}."


def section(title: str, fold: str) -> str:
    """One fold: the table and the rival."""
    return f"\n## {title}\n\n{table(fold)}\n\n{against_torch_pruning(fold)}\n"


def main() -> None:
    """Run, or print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", action="store_true", help="make the runs that are missing")
    parser.add_argument("--net", nargs="+", default=sorted(dense.NETS), choices=sorted(dense.NETS))
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seed", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--test", action="store_true", help="also report fold 5")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run:
        run_all(options.net, options.method, options.seed)
    head = (
        f"torch {torch.__version__}, torch-pruning {torch_pruning.__version__}, Python "
        f"{platform.python_version()}, one thread. Accuracy in percent, mean over seeds "
        f"{', '.join(map(str, SEEDS))}; differences are paired by seed (standard error). "
        f"{EPOCHS} epochs of fine-tuning."
    )
    text = f"# Objectives on ESC-50\n\n{head}\n\n{NOTES}\n"
    text += section("Fold 4 (validation)", "validation")
    if options.test:
        text += section("Fold 5 (test)", "test")
    TABLE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
