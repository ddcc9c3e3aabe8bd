"""The whole way to a joint budget, beside Torch-Pruning's loop, on the same weights in one run.

BC-ResNet-8 (10 classes, 4 sub-bands, 1 x 256 x 34) to 128,000 parameters and 30 million MACs,
without data. `compressor.fit` traces, probes, allocates, shrinks, compares the result with its
masked original and counts it anew. Torch-Pruning has no budget: its documented loop removes a 200th
of the channels and counts with its own counter until both numbers are low enough.

    python -m benchmarks.speed.fit  # table into fit.md

CPU seconds of the process, one thread; all run once before anything is timed. Ours takes about a
second, so that one call would measure the neighbours on the machine: it is the mean of ten.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time

import torch
import torch_pruning
from torch import nn

from benchmarks.common.command import parser, started
from benchmarks.common.contest import ratios
from benchmarks.common.pruner import torch_pruning_loop
from benchmarks.common.tables import extremes, page, publish, table, versions
from compressor import Budget, Cost, fit, measure
from models import BCResNet

BUDGET = Budget(params=128e3, macs=30e6)
CALLS = {"compressor.fit": 10}
"""How many calls one timing is the mean of, where it is not one."""


def by_its_own_counter(model: nn.Module) -> bool:
    """True if Torch-Pruning's counter, which its documented loop uses, sees both caps met."""
    macs, params = torch_pruning.utils.count_ops_and_params(model, model.example_input_array)
    return params <= BUDGET.caps["params"] and macs <= BUDGET.caps["macs"]


def theirs(model: nn.Module, *, globally: bool) -> nn.Module:
    """Their loop on a copy."""
    return torch_pruning_loop(copy.deepcopy(model), by_its_own_counter, globally=globally)


def timed(
    shrink: Callable[[nn.Module], nn.Module], model: nn.Module, calls: int
) -> tuple[float, Cost]:
    """CPU seconds a call, mean over `calls`, and the cost of the result, by our counter."""
    start = process_time()
    results = [shrink(model) for _ in range(calls)]
    return (process_time() - start) / calls, measure(results[-1])


METHODS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compressor.fit": lambda model: fit(model, budget=BUDGET).model,  # with all that it checks
    "Torch-Pruning, local": partial(theirs, globally=False),
    "Torch-Pruning, global": partial(theirs, globally=True),
}
HEAD = (
    "method", "CPU s", "CPU s / ours, paired", "params unused", "MACs unused", "tightest left",
)  # fmt: skip


def row(name: str, runs: list[tuple[float, Cost]], baseline: list[float]) -> list[str]:
    """One row: seconds, ratio of paired seconds, and how much of each cap is left."""
    seconds = [s for s, _ in runs]
    params = [100 * (1 - cost.params / BUDGET.caps["params"]) for _, cost in runs]
    macs = [100 * (1 - cost.macs / BUDGET.caps["macs"]) for _, cost in runs]
    cells = (seconds, ratios(seconds, baseline), params, macs, list(map(min, params, macs)))
    return [name, *map(extremes, cells)]


def main() -> None:
    """Measure and write the table."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=3)
    seeds = started(options).seeds
    runs: dict[str, list[tuple[float, Cost]]] = {name: [] for name in METHODS}
    for seed in range(-1, seeds):
        torch.manual_seed(seed + 1)
        model = BCResNet(8).eval()
        for name, shrink in METHODS.items():
            result = timed(shrink, model, CALLS.get(name, 1))
            if seed >= 0:
                runs[name].append(result)
                print(name, seed, *result, flush=True)
    baseline = [s for s, _ in runs["compressor.fit"]]
    text = page(
        "# BC-ResNet-8 to 128k parameters and 30M MACs, without data",
        f"{versions(f'torch-pruning {torch_pruning.__version__}')}, n = {seeds} initialisations, "
        f"ours the mean of {CALLS['compressor.fit']} calls; cells are min / median / max. `unused` "
        "is what is left of a cap, in percent, by our counter.",
        table(HEAD, (row(name, found, baseline) for name, found in runs.items())),
    )
    publish(text, Path(__file__).with_suffix(".md"))


if __name__ == "__main__":
    main()
