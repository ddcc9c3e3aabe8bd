"""Are the defaults of `fit` the best there are? Beside its own grid, and beside other pruners.

The four dense networks of `benchmarks.accuracy.grounds`, two joint budgets, ten epochs of
fine-tuning. The grid: all ways of ours to choose what stays (`benchmarks.accuracy.contenders`) x
three rates. Torch-Pruning (local, global, isomorphic) and torch-kirigami are fine-tuned by the same
phases at the same rates, and each is shown at its own best. Everything is run with the first seed.
The best rate of every other pruner and the `FINAL` best of the grid, by the validation part, are
then run with all seeds. What is best in the end is chosen on the validation part, by the mean over
seeds; the test part is looked at once, for what was chosen.

    python -m benchmarks.accuracy.grounds --run            # once
    python -m benchmarks.accuracy.defaults --run --seed 0  # the whole grid; goes on if killed
    python -m benchmarks.accuracy.defaults --run           # what was best, with the other seeds
    python -m benchmarks.accuracy.defaults                 # the tables, into defaults.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import product
from pathlib import Path
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
from benchmarks.accuracy.grounds import NETS, dense_seed, judged, load, loader
from benchmarks.accuracy.keywords import ANYTHING
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import Record, Records, Run, read
from benchmarks.common.tables import page, table, versions, with_error
from compressor import FineTune, Recalibrate, fit, measure
from compressor.run.phase import Phase

EPOCHS = 10
SEEDS = range(5)
"""Those that the table has at most."""
RATES = ("3e-3", "1e-2", "3e-2")
"""Of the grid, and of every other pruner."""
FOUND = "found"
"""The rate is found by `fit`."""
FIRST = SEEDS[0]
"""With which all is run."""
FINAL = 3
"""Cells of the grid that are run with the other seeds too."""
DEFAULT, TOLD = "fit", "fit, told the dense rate"
DEFAULTS = (DEFAULT, TOLD)
OTHERS = (*STRUCTURES, *RIVALS)
PAIRS = [
    *((way, FOUND) for way in DEFAULTS),
    *((way, rate) for rate in RATES for way in OTHERS),
]
"""Ways with their rates."""


@cache
def pruned(net: str, budget: str, way: str, seed: int) -> nn.Module:
    """One network, cut and not fine-tuned yet; the same for all rates.

    Raises:
        RefusedError: If another pruner makes nothing.
    """
    phases: list[Phase] = [Recalibrate()]
    if way in STRUCTURES:
        small, caps_of = load(net, dense_seed(net, seed)), caps(net, budget)
        phases.insert(0, pruning(way))
    else:
        small, caps_of = rival(way, net, budget, dense_seed(net, seed))[0], ANYTHING
    data = loader(net, 100 + seed)
    return fit(small.train(), data, budget=caps_of, schedule=phases, seed=100 + seed).model


def made(net: str, budget: str, way: str, rate: str, seed: int) -> tuple[nn.Module, float]:
    """One network, cut and fine-tuned, and at what rate."""
    tuned = partial(fit, data=loader(net, 100 + seed), seed=100 + seed)
    if way in DEFAULTS:
        told = NETS[net].training.lr if way == TOLD else None
        model = load(net, dense_seed(net, seed)).train()
        result = tuned(model, budget=caps(net, budget), epochs=EPOCHS, lr=told)
        return result.model, result.report.rates[-1].lr
    tune = FineTune(epochs=EPOCHS, lr=float(rate))
    model = pruned(net, budget, way, seed)
    result = tuned(model, budget=ANYTHING, schedule=[tune], verify=False)
    return result.model, float(rate)


def run(net: str, budget: str, way: str, rate: str, seed: int) -> Record:
    """One run."""
    start = process_time()
    try:
        model, lr = made(net, budget, way, rate, seed)
    except RefusedError as error:
        return {"refused": str(error)}
    cost = measure(model.eval())
    if not caps(net, budget).allows(cost):
        raise RuntimeError(f"{way} exceeds {caps(net, budget)}: {cost}")
    return {
        "params": cost.params,
        "macs": cost.macs,
        "lr": lr,
        **judged(model, net),
        "CPU seconds": round(process_time() - start, 1),
        "torch": torch.__version__,
    }


def runs(
    found: Records,
    nets: Iterable[str],
    budgets: Iterable[str],
    ways: Iterable[str],
    seeds: Iterable[int],
) -> Iterator[Run]:
    """Network by network, the deep budget first: it says most; then seed by seed.

    Seeds beyond the first one are run for what was best with it, once all is known of that.
    """
    for net, budget, seed in product(nets, sorted(budgets), seeds):
        for way, rate in PAIRS if seed == FIRST else finalists(found, net, budget):
            if way in ways:
                key = {"net": net, "budget": budget, "way": way, "rate": rate, "seed": seed}
                yield Run(key, partial(run, **key))


def finalists(found: Records, net: str, budget: str) -> list[tuple[str, str]]:
    """Ways with their rates that are run with all seeds; none until the first seed is whole."""
    if len(found.of(net=net, budget=budget, seed=FIRST)) < len(PAIRS):
        return []
    ranked = partial(ranking, found, net, budget, seeds=[FIRST])
    rivals = [pair for rival in RIVALS for pair in ranked([rival])[:1]]
    return [*((way, FOUND) for way in DEFAULTS), *ranked(STRUCTURES)[:FINAL], *rivals]


def seeds_of(found: Records, net: str, budget: str) -> list[int]:
    """Seeds of which all finalists of a cell are there."""
    wanted = finalists(found, net, budget)
    records = found.of(net=net, budget=budget)
    there = {(r["way"], r["rate"], r["seed"]) for r in records}
    seeds = {record["seed"] for record in records} if wanted else set[int]()
    return sorted(seed for seed in seeds if all((*pair, seed) in there for pair in wanted))


def values(
    found: Records, net: str, budget: str, way: str, rate: str, part: str, seeds: Iterable[int]
) -> np.ndarray:
    """Accuracy in percent of some seeds; empty where one was not run, or the tool refused."""
    records = {r["seed"]: r for r in found.of(net=net, budget=budget, way=way, rate=rate)}
    if not all(part in records.get(seed, {}) for seed in seeds):
        return np.array([])
    return np.array([100 * records[seed][part] for seed in seeds])


def ranking(
    found: Records, net: str, budget: str, ways: Iterable[str], seeds: list[int]
) -> list[tuple[str, str]]:
    """Ways with their rates, the highest mean on the validation part first; refusals left out."""
    means = {
        (way, rate): mean.mean()
        for way, rate in PAIRS
        if way in ways and len(mean := values(found, net, budget, way, rate, "validation", seeds))
    }
    return sorted(means, key=means.__getitem__, reverse=True)


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
        ranked = ranking(found, net, budget, ways, seeds)
        if not ranked:
            rows.append([cell, name, "", "none", "none", ""])
            continue
        part = partial(values, found, net, budget, *ranked[0], seeds=seeds)
        ahead = "" if name == DEFAULT else with_error(default - part("test"))
        about = ranked[0][1] if name != "grid" else ", ".join(ranked[0])
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
        f"chosen on the validation part: with seed {FIRST}, and of the grid among the {FINAL} best "
        "of it with all seeds. Differences in points, paired by seed; a seed beyond those of the "
        "dense networks draws other clips and another order on one of them."
    )
    rows = [row for cell in cells for row in cell_rows(found, *cell)]
    body = table(HEAD, rows) if rows else "No cell has all of its runs yet."
    return page("# Defaults beside the whole grid and other pruners", about, body)


def main() -> None:
    """Run, or print the table."""
    options = started(recording(__doc__, net=NETS, budget=BUDGETS, way=(*DEFAULTS, *OTHERS)))
    found = read(Path(__file__).with_suffix(".jsonl"), SEEDS)
    todo = runs(found, options.net, options.budget, options.way, options.seed)
    run_or_report(__file__, options, todo, report, hidden=("test",), seeds=SEEDS)


if __name__ == "__main__":
    main()
