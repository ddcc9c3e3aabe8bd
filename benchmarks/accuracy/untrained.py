"""Networks made smaller without labels and without training: what is left of the accuracy.

The four dense networks of `benchmarks.accuracy.grounds` under two joint budgets, with 256 training
clips without labels. Beside `fit`: the same with BatchNorm's statistics estimated anew and nothing
else repaired, other pruners by magnitude with the same, and OSSCAR on torch-kirigami's graph
(`benchmarks.common.osscar`), which chooses channels and solves their readers on the clips.

    python -m benchmarks.accuracy.grounds --run    # once
    python -m benchmarks.accuracy.untrained --run  # a killed call goes on
    python -m benchmarks.accuracy.untrained        # the table, into untrained.md
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn

from benchmarks.accuracy import grounds
from benchmarks.accuracy.contenders import BUDGETS, RIVALS, RefusedError, caps, cut, rival, sizes
from benchmarks.accuracy.grounds import CALIBRATION, NETS, inputs, judged, load
from benchmarks.common.command import recording, run_or_report, started
from benchmarks.common.records import SEEDS, Record, Records, every, read
from benchmarks.common.tables import listed, page, table, versions, with_error
from benchmarks.rivals import Osscar
from compressor import fit, measure
from compressor.run.calibration import recalibrate

DENSE = 0
"""Seed of the dense network; those of the runs draw the clips."""

Clips = Sequence[Tensor]
"""Batches of inputs alone."""
Made = tuple[nn.Module, float]
"""A network, and the CPU seconds of making it."""


def outputs(model: nn.Module, x: Tensor) -> Tensor:
    """A number that is finite if the outputs are: a loss for those who need none."""
    return model(x).mean()


def recalibrated(model: nn.Module, clips: Clips) -> nn.Module:
    """The network with BatchNorm's statistics of these clips."""
    recalibrate(model, clips, outputs)
    return model.eval()


def ours(net: str, budget: str, clips: Clips) -> Made:
    """`fit` on inputs alone."""
    return timed(lambda: fit(load(net, DENSE), clips, budget=caps(net, budget)).model)


def blind(net: str, budget: str, clips: Clips) -> Made:
    """`fit` without data, and new statistics."""
    return timed(lambda: recalibrated(fit(load(net, DENSE), budget=caps(net, budget)).model, clips))


def theirs(net: str, budget: str, clips: Clips, *, by: str) -> Made:
    """Another pruner, and new statistics."""
    model, seconds = rival(by, net, budget, DENSE)
    return recalibrated(model, clips), seconds


def by_osscar(net: str, budget: str, clips: Clips) -> Made:
    """OSSCAR, and new statistics."""
    cutter = Osscar(clips)
    return timed(lambda: recalibrated(cut(cutter, load(net, DENSE), caps(net, budget)), clips))


def timed(make: Callable[[], nn.Module]) -> Made:
    """What is made, and the CPU seconds of making it."""
    start = process_time()
    return make(), process_time() - start


WAYS: dict[str, Callable[[str, str, Clips], Made]] = {
    "fit": ours,
    "BatchNorm alone": blind,
    **{f"{name}, BatchNorm": partial(theirs, by=name) for name in RIVALS},
    "OSSCAR on torch-kirigami": by_osscar,
}


def run(net: str, budget: str, way: str, seed: int) -> Record:
    """One network: smaller, and as good as it is then."""
    start = process_time()
    try:
        model, seconds = WAYS[way](net, budget, inputs(net, seed))
    except RefusedError as error:
        return {"refused": str(error), "CPU seconds": round(process_time() - start, 1)}
    cost = measure(model)
    return {
        "params": cost.params,
        "macs": cost.macs,
        **judged(model, net),
        "CPU seconds": round(seconds, 1),
        "torch": torch.__version__,
    }


def shares(found: Records, dense: Records, part: str, **key: str) -> list[float]:
    """Accuracy in percent of the dense network's, for every seed of a cell."""
    whole = dense.values(part, net=key["net"], way="dense", seed=DENSE)[0]
    return [100 * record[part] / whole for record in found.of(**key) if part in record]


HEAD = ("network, way", *(f"{b}, {p}" for b in BUDGETS for p in ("validation", "test")), "CPU s")


def row(net: str, way: str, found: Records, dense: Records) -> list[str]:
    """One way on one network."""
    cells: list[str] = []
    for budget in BUDGETS:
        records = found.of(net=net, budget=budget, way=way)
        if records and "refused" in records[0]:
            cells += ["none", "none"]
            continue
        for part in ("validation", "test"):
            of_dense = shares(found, dense, part, net=net, budget=budget, way=way)
            cells.append(with_error(of_dense, ".1f"))
    seconds = [record["CPU seconds"] for record in found.of(net=net, way=way)]
    return [f"{net}: {way}", *cells, f"{np.mean(seconds):.1f}"]


def fewer(found: Records) -> str:
    """The cells that have fewer draws than there are, a sentence; empty where none has."""
    cells = [
        (net, budget) for net in NETS for budget in BUDGETS if found.of(net=net, budget=budget)
    ]
    said: list[str] = []
    for net, budget in cells:
        counts = {way: len(found.of(net=net, budget=budget, way=way)) for way in WAYS}
        mine, others = counts.pop("fit"), min(counts.values())
        if min(mine, others) < len(SEEDS):
            said.append(f"{net}, {budget}: {mine} of fit, {others} of the others")
    return f" Fewer draws: {'; '.join(said)}." if said else ""


def refusals(found: Records) -> str:
    """Why there is no network, a line a reason."""
    said = {
        f"{r['net']}, {r['budget']}, {r['way']}: {r['refused']}"
        for r in found.of()
        if "refused" in r
    }
    return "\n".join(f"- {line}" for line in sorted(said))


def report(found: Records) -> str:
    """The page."""
    dense = read(Path(grounds.__file__).with_suffix(".jsonl"))
    shown = [net for net in NETS if found.of(net=net)]
    levels = "; ".join(
        f"{net} "
        + " / ".join(
            f"{100 * dense.values(part, net=net, way='dense', seed=DENSE)[0]:.1f}"
            for part in ("validation", "test")
        )
        for net in shown
    )
    about = (
        f"{versions(f'torch-pruning {torch_pruning.__version__}')}. Accuracy in percent of the "
        f"dense network's, with no training and no label: {sizes()}. Mean (standard error) over "
        f"draws {listed(SEEDS)} of {CALIBRATION} training clips, on one dense network each "
        f"(validation / test {levels}). CPU seconds of making a network, on a busy machine."
        f"{fewer(found)}"
    )
    rows = [
        row(net, way, found, dense) for net in shown for way in WAYS if found.of(net=net, way=way)
    ]
    return page(
        "# Smaller without labels and without training", about, table(HEAD, rows), refusals(found)
    )


def main() -> None:
    """Run, or print the table."""
    options = started(recording(__doc__, net=NETS, budget=BUDGETS, way=WAYS))
    runs = every(run, options.seed, net=options.net, budget=options.budget, way=options.way)
    run_or_report(__file__, options, runs, report, hidden=("test",))


if __name__ == "__main__":
    main()
