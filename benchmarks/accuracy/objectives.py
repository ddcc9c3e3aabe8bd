"""Objectives of an allocation: all of them beside Torch-Pruning, on real audio.

Two networks (A: BC-ResNet-ASC, one fully coupled trunk a stage; B: a plain residual CNN with free
inner layers) x two joint budgets x seeds. Every method gets the same dense network, budget,
recalibration of BatchNorm and short fine-tune:

    python -m benchmarks.accuracy.dense --net A --seed 0 1 2  # once; likewise B
    python -m benchmarks.accuracy.objectives --run            # a killed call goes on
    python -m benchmarks.accuracy.objectives                  # the tables, into objectives.md

Trained on ESC-50 folds 1-3. The default is chosen on fold 4; fold 5 is reported once (`--test`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from time import process_time
from typing import Any

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn

from benchmarks.accuracy import dense
from benchmarks.allocation.global_threshold import reachable_norms, threshold
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.pruner import torch_pruning_loop
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.tables import listed, page, table, versions, with_error
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
from compressor.inputs.losses import cross_entropy
from compressor.run.calibration import recalibrate
from compressor.session import Session
from compressor.surgery.cutting import shrink
from compressor.surgery.proof import verify
from compressor.tracing.tracer import trace
from recipes.training.loop import accuracy

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


def shrunk(model: nn.Module, graph: Graph, allocation: Allocation) -> nn.Module:
    """The smaller model, compared with the masked original."""
    smaller = shrink(model, graph, allocation.structure)
    verify(model, graph, allocation.structure, smaller)
    return smaller


def ours(model: nn.Module, case: Case, by: Any = None, **options: Any) -> nn.Module:
    """Allocate with Fisher or other scores, shrink, and compare with the masked original."""
    graph, fisher = traced(case.net, case.seed)
    allocation = allocate(graph, fisher if by is None else by, case.caps, **options)
    return shrunk(model, graph, allocation)


def one_threshold(model: nn.Module, case: Case) -> nn.Module:
    """The 2022 report's global threshold on raw Frobenius norms of reachable filters."""
    graph, _ = traced(case.net, case.seed)
    norms = reachable_norms(graph, dict(model.named_parameters()))
    method = partial(threshold, norms=norms)
    allocation = allocate(graph, norms(full(graph)), case.caps, method=method)
    return shrunk(model, graph, allocation)


def theirs(model: nn.Module, case: Case, *, globally: bool) -> nn.Module:
    """Torch-Pruning's loop, stopped by our counter so that both tools get the same caps."""
    return torch_pruning_loop(model, lambda m: case.caps.allows(measure(m)), globally=globally)


def default(model: nn.Module, case: Case) -> nn.Module:
    """Compress as `fit` does when nothing is asked for: a choice by the loss before fine-tuning."""
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


def run(net: str, budget: str, method: str, seed: int) -> Record:
    """One run: shrink, recalibrate, fine-tune, evaluate."""
    start, case = process_time(), Case(net, budget, seed)
    model = METHODS[method](dense.load(net, seed), case)
    seconds = process_time() - start
    cost, caps = measure(model), case.caps
    if not caps.allows(cost):
        raise RuntimeError(f"{method} exceeds {caps}: {cost}")
    data = batches(seed)
    recalibrate(model, data, cross_entropy)
    model.eval()
    with torch.no_grad():
        before = float(np.mean([cross_entropy(model, batch).item() for batch in data]))
    dense.fit(model, EPOCHS, FINE_TUNE[net], seed=100 + seed)
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


CELLS = [{"net": net, "budget": budget} for net in dense.NETS for budget in BUDGETS]
HEAD = [f"{cell['net']} {cell['budget']}" for cell in CELLS]


def by_method(found: Records, fold: str) -> str:
    """Mean accuracy by cell, and the paired difference to uniform with its standard error."""

    def row(method: str) -> list[str]:
        values = [100 * found.values(fold, method=method, **cell) for cell in CELLS]
        base = [100 * found.values(fold, method=REFERENCE, **cell) for cell in CELLS]
        means = [f"{np.mean(v):.1f}" if len(v) else "-" for v in values]
        paired = [v - b for v, b in zip(values, base, strict=True)]
        return [method, *means, *map(with_error, paired), with_error(np.concatenate(paired))]

    head = ["method", *HEAD, *(f"{cell} - uniform" for cell in HEAD), "all - uniform"]
    whole = len(CELLS) * len(SEEDS)
    return table(head, (row(name) for name in METHODS if len(found.of(method=name)) == whole))


def against_torch_pruning(found: Records, fold: str) -> str:
    """The default beside Torch-Pruning's better mode (by its mean), paired by seed."""
    parts: list[str] = []
    for name, cell in zip(HEAD, CELLS, strict=True):
        values = {
            way: 100 * found.values(fold, method=f"Torch-Pruning {way}", **cell)
            for way in ("local", "global")
        }
        rival = max(values, key=lambda way: values[way].mean())
        ours = 100 * found.values(fold, method="default", **cell)
        parts.append(f"{name} {with_error(ours - values[rival])} against {rival}")
    return f"Default against Torch-Pruning's better mode: {'; '.join(parts)}."


def report(found: Records, *, test: bool) -> str:
    """The page; with fold 5 where that is asked for."""
    folds = {"Fold 4 (validation)": "validation"} | ({"Fold 5 (test)": "test"} if test else {})
    sections: list[str] = []
    for title, fold in folds.items():
        sections += [f"## {title}", by_method(found, fold), against_torch_pruning(found, fold)]
    return page(
        "# Objectives on ESC-50",
        f"{versions(f'torch-pruning {torch_pruning.__version__}')}. Accuracy in percent, mean over "
        f"seeds {listed(SEEDS)}; differences are paired by seed (standard error). {EPOCHS} epochs "
        "of fine-tuning.",
        NOTES,
        *sections,
    )


def main() -> None:
    """Run, or print the table."""
    parser = recording(__doc__, net=sorted(dense.NETS), method=METHODS)
    parser.add_argument("--test", action="store_true", help="also report fold 5")
    options = started(parser)
    todo = every(run, options.seed, net=options.net, budget=BUDGETS, method=options.method)
    run_or_report(__file__, options, todo, partial(report, test=options.test), hidden=("test",))


if __name__ == "__main__":
    main()
