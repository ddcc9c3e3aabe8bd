"""Does a trial of a few steps find the learning rate of a fine-tune? Every rate, and the one found.

The dense networks of `benchmarks.accuracy.grounds` under two joint budgets, cut by one way to
choose widths and repaired, are fine-tuned for ten epochs at every rate, and at the one that
`Session.rate` finds, with the rate of the dense training known and without. Judged on the
validation part; the test part is not read.

    python -m benchmarks.accuracy.rates --run  # a killed call goes on
    python -m benchmarks.accuracy.rates        # the table, into rates.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from time import process_time

import numpy as np
import torch

from benchmarks.accuracy.additions import STRUCTURE
from benchmarks.accuracy.contenders import BUDGETS, caps, pruning, sizes
from benchmarks.accuracy.defaults import EPOCHS, pruned
from benchmarks.accuracy.grounds import NETS, dense_seed, load, loader
from benchmarks.accuracy.keywords import ANYTHING
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import SEEDS, Record, Records, every
from benchmarks.common.tables import page, table, versions
from compressor import FineTune, Session, fit
from compressor.run.history import Rate
from recipes.training.loop import accuracy

RATES = ("0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064")
FOUND, TOLD = "found", "found, told the dense rate"
WAYS = (*RATES, FOUND, TOLD)


def searched(net: str, budget: str, seed: int, known: float | None) -> Rate:
    """The rate for a network that was cut and repaired."""
    model, data = load(net, dense_seed(net, seed)), loader(net, 100 + seed)
    with Session(model, budget=caps(net, budget), data=data, prune=pruning(STRUCTURE)) as session:
        return session.rate(data, lr=known)


def tuned(net: str, budget: str, seed: int, rate: float) -> float:
    """Accuracy on the validation part after the fine-tune."""
    model = fit(
        pruned(net, budget, STRUCTURE, seed), loader(net, 100 + seed), budget=ANYTHING,
        schedule=[FineTune(EPOCHS, rate)], seed=100 + seed, verify=False,
    ).model  # fmt: skip
    return accuracy(model.eval(), *NETS[net].hears("validation"))


def run(net: str, budget: str, way: str, seed: int) -> Record:
    """One fine-tune, after a search where the rate is to be found."""
    said: Record = {"torch": torch.__version__}
    if way in RATES:
        rate = float(way)
    else:
        start, known = process_time(), NETS[net].training.lr if way == TOLD else None
        found = searched(net, budget, seed, known)
        said |= {"search, CPU seconds": round(process_time() - start, 1)}
        rate, said["start"], said["tried"] = found.lr, found.start, found.tried
    start = process_time()
    said |= {"rate": rate, "validation": tuned(net, budget, seed, rate)}
    return {**said, "CPU seconds": round(process_time() - start, 1)}


HEAD = ("network, budget (seeds)", *RATES, "found: rates", "points behind", "told: rates",
        "points behind")  # fmt: skip


def cells(found: Records) -> Iterator[tuple[str, str, list[int]]]:
    """Networks and budgets with the seeds that have all rates."""
    for net, budget in product(NETS, BUDGETS):
        there = [{r["seed"] for r in found.of(net=net, budget=budget, way=w)} for w in RATES]
        if seeds := sorted(set.intersection(*there)):
            yield net, budget, seeds


def row(found: Records, net: str, budget: str, seeds: Sequence[int]) -> list[str]:
    """One network under one budget."""

    def of(way: str) -> list[Record]:
        records = {r["seed"]: r for r in found.of(net=net, budget=budget, way=way)}
        return [records[seed] for seed in seeds if seed in records]

    def mean(way: str) -> float:
        return 100 * float(np.mean([r["validation"] for r in of(way)]))

    means = {rate: mean(rate) for rate in RATES}
    best = max(means.values())
    levels = [f"**{m:.1f}**" if m == best else f"{m:.1f}" for m in means.values()]
    taken: list[str] = []
    for way in (FOUND, TOLD):
        whole = len(of(way)) == len(seeds)
        rates = ", ".join(f"{r['rate']:.3g}" for r in of(way))
        taken += [rates, f"{best - mean(way):.1f}"] if whole else ["-", "-"]
    return [f"{net}, {budget} ({len(seeds)})", *levels, *taken]


def report(found: Records) -> str:
    """The page."""
    about = (
        f"{versions()}. Accuracy in percent on the validation part, mean over seeds, after "
        f"{EPOCHS} epochs at rates of AdamW with a warm-up and half a cosine; the best one in "
        f"bold. Widths by {STRUCTURE}, repaired; {sizes()}. Found: by `Session.rate`, with nothing "
        "known, and told the rate of the dense training; points behind the best of the row. An "
        "accuracy over 970 clips (speech commands) has a standard error of about a point, over the "
        "400 of a fold of ESC-50 of two, and the best of seven is high by luck. The range of the "
        "search was chosen with these rows in sight: how far it carries is for other networks to "
        "say."
    )
    rows = [row(found, *cell) for cell in cells(found)]
    body = table(HEAD, rows) if rows else "No records yet."
    return page("# The learning rate of a fine-tune", about, body)


def main() -> None:
    """Run, or print the table."""
    options = started(recording(__doc__, net=NETS, budget=BUDGETS, way=WAYS))
    runs = every(run, options.seed, net=options.net, budget=options.budget, way=options.way)
    run_or_report(__file__, options, runs, report, seeds=SEEDS)


if __name__ == "__main__":
    main()
