"""Are the defaults of `fit` the best there are? Beside its own grid, and beside other pruners.

The four dense networks of `benchmarks.accuracy.grounds`, two joint budgets, ten epochs of
fine-tuning. The grid: all ways of ours to choose what stays (`benchmarks.accuracy.contenders`) x
three rates. Torch-Pruning (local, global, isomorphic) and torch-kirigami are fine-tuned by the same
phases at the same rates, and each is shown at its own best. What is best is chosen on the
validation part, by the mean over seeds; the test part is looked at once, for what was chosen.

    python -m benchmarks.accuracy.grounds --run   # once
    python -m benchmarks.accuracy.defaults --run  # goes on if killed; --seed 3 4 for more seeds
    python -m benchmarks.accuracy.defaults        # the tables, into defaults.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from time import process_time

import numpy as np
import torch
import torch_pruning
from torch import nn

from benchmarks.accuracy.contenders import (
    BUDGETS,
    RIVALS,
    STRUCTURES,
    RefusedError,
    caps,
    pruning,
    rival,
    sizes,
)
from benchmarks.accuracy.grounds import NETS, judged, load, loader
from benchmarks.accuracy.keywords import ANYTHING
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import Record, Records, Run
from benchmarks.common.tables import page, table, versions, with_error
from compressor import FineTune, Recalibrate, fit, measure

EPOCHS = 10
SEEDS = range(5)
"""Those that the table has at most."""
RATES = ("1e-3", "3e-3", "1e-2")
"""Of the grid, and of every other pruner."""
FOUND = "found"
"""The rate is found by `fit`."""
DEFAULT, TOLD = "fit", "fit, told the dense rate"
DEFAULTS = (DEFAULT, TOLD)
OTHERS = (*STRUCTURES, *RIVALS)
PAIRS = [
    *((way, FOUND) for way in DEFAULTS),
    *((way, rate) for rate in RATES for way in OTHERS),
]
"""Ways with their rates."""


def made(net: str, budget: str, way: str, rate: str, seed: int) -> nn.Module:
    """One network, cut and fine-tuned."""
    tuned = partial(fit, data=loader(net, 100 + seed), seed=100 + seed)
    if way in DEFAULTS:
        told = NETS[net].training.lr if way == TOLD else None
        model = load(net, seed).train()
        return tuned(model, budget=caps(net, budget), epochs=EPOCHS, lr=told).model
    tune = FineTune(epochs=EPOCHS, lr=float(rate))
    if way in STRUCTURES:
        phases = [pruning(way), Recalibrate(), tune]
        return tuned(load(net, seed).train(), budget=caps(net, budget), schedule=phases).model
    small, _ = rival(way, net, budget, seed)
    return tuned(small.train(), budget=ANYTHING, schedule=[Recalibrate(), tune], verify=False).model


def run(net: str, budget: str, way: str, rate: str, seed: int) -> Record:
    """One run."""
    start = process_time()
    try:
        model = made(net, budget, way, rate, seed).eval()
    except RefusedError as error:
        return {"refused": str(error)}
    cost = measure(model)
    if not caps(net, budget).allows(cost):
        raise RuntimeError(f"{way} exceeds {caps(net, budget)}: {cost}")
    return {
        "params": cost.params,
        "macs": cost.macs,
        **judged(model, net),
        "CPU seconds": round(process_time() - start, 1),
        "torch": torch.__version__,
    }


def runs(
    nets: Iterable[str], budgets: Iterable[str], ways: Iterable[str], seeds: Iterable[int]
) -> Iterator[Run]:
    """Network by network, seed by seed, the deep budget first: it says most."""
    deepest = sorted(budgets)
    for net in nets:
        for seed in seeds:
            for budget in deepest:
                for way, rate in PAIRS:
                    if way in ways:
                        key = {"net": net, "budget": budget, "way": way, "rate": rate, "seed": seed}
                        yield Run(key, partial(run, **key))


def seeds_of(found: Records, net: str, budget: str) -> list[int]:
    """Seeds of which all ways of a cell are there."""
    counts: dict[int, int] = {}
    for record in found.of(net=net, budget=budget):
        counts[record["seed"]] = counts.get(record["seed"], 0) + 1
    return sorted(seed for seed, count in counts.items() if count == len(PAIRS))


def values(
    found: Records, net: str, budget: str, way: str, rate: str, part: str, seeds: Iterable[int]
) -> np.ndarray:
    """Accuracy in percent of some seeds; empty where the tool refused."""
    records = {r["seed"]: r for r in found.of(net=net, budget=budget, way=way, rate=rate)}
    return np.array([100 * records[seed][part] for seed in seeds if part in records[seed]])


def best(
    found: Records, net: str, budget: str, ways: Iterable[str], seeds: list[int]
) -> tuple[str, str] | None:
    """The way and rate of the highest mean on the validation part; None if all refused."""
    means = {
        (way, rate): mean.mean()
        for way, rate in PAIRS
        if way in ways and len(mean := values(found, net, budget, way, rate, "validation", seeds))
    }
    return max(means, key=means.__getitem__, default=None)


def cell_rows(found: Records, net: str, budget: str) -> list[list[str]]:
    """One network under one budget."""
    seeds = seeds_of(found, net, budget)
    cell = f"{net}, {budget} ({len(seeds)})"
    default = values(found, net, budget, DEFAULT, FOUND, "test", seeds)
    rows: list[list[str]] = []
    for name, ways in [
        *((d, [d]) for d in DEFAULTS),
        ("grid", STRUCTURES),
        *((r, [r]) for r in RIVALS),
    ]:
        chosen = best(found, net, budget, ways, seeds)
        if chosen is None:
            rows.append([cell, name, "", "none", "none", ""])
            continue
        part = partial(values, found, net, budget, *chosen, seeds=seeds)
        ahead = "" if name == DEFAULT else with_error(default - part("test"))
        about = chosen[1] if name != "grid" else ", ".join(chosen)
        rows.append(
            [
                cell,
                name,
                about,
                *(with_error(part(p), ".1f") for p in ("validation", "test")),
                ahead,
            ]
        )
    return rows


HEAD = ("network, budget (seeds)", "way", "chosen", "validation", "test", "fit ahead, test")


def report(found: Records) -> str:
    """The page."""
    cells = [(n, b) for n in NETS for b in BUDGETS if seeds_of(found, n, b)]
    about = (
        f"{versions(f'torch-pruning {torch_pruning.__version__}')}. Accuracy in percent after "
        f"{EPOCHS} epochs, mean (standard error); {sizes()}. The grid's best of {len(STRUCTURES)} "
        f"ways x {len(RATES)} rates, and every other pruner's best rate of {', '.join(RATES)}, are "
        "chosen on the validation part. Differences in points, paired by seed; a seed beyond those "
        "of the dense networks draws other clips and another order on one of them."
    )
    rows = [row for cell in cells for row in cell_rows(found, *cell)]
    body = table(HEAD, rows) if rows else "No cell has all of its runs yet."
    return page("# Defaults beside the whole grid and other pruners", about, body)


def main() -> None:
    """Run, or print the table."""
    options = started(recording(__doc__, net=NETS, budget=BUDGETS, way=(*DEFAULTS, *OTHERS)))
    todo = runs(options.net, options.budget, options.way, options.seed)
    run_or_report(__file__, options, todo, report, hidden=("test",), seeds=SEEDS)


if __name__ == "__main__":
    main()
