"""Seconds and memory of tracing, allocating and fitting, beside `torch.export` and Torch-Pruning.

Networks of `benchmarks.common.vision` and `benchmarks.common.swin`, without data, to half of their
parameters and multiply-accumulates. Every figure is taken in a process of its own and of one
thread, which has done the same to a tiny network before, so that libraries are there.

    python -m benchmarks.speed.trace --run  # what is missing, into trace.jsonl
    python -m benchmarks.speed.trace        # table into trace.md

`export` is the bare ``torch.export.export``. `allocate` is `compressor.trace`, with its trial, and
`compressor.allocate`. `fit` is `compressor.fit` with all that it checks. Torch-Pruning removes a
twelfth of the channels of every layer a step and counts with its own counter, as its documentation
shows, until both caps are met; then smaller steps, twice as many again and again, until it leaves
at most 1 % of the tighter cap. Peak memory is what the process adds at most to what it held when
the network was built, in multiples of the network's weights.
"""

from __future__ import annotations

import gc
from argparse import Namespace
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from statistics import median
from time import process_time

import torch
import torch_pruning
from torch import Tensor, nn

from benchmarks.common.command import one_thread, recording, run_or_report, started
from benchmarks.common.contest import MIB, added, ratios
from benchmarks.common.pruner import torch_pruning_loop
from benchmarks.common.records import Record, Records, every
from benchmarks.common.swin import Swin
from benchmarks.common.tables import extremes, page, table, versions
from benchmarks.common.vision import densenet, efficientnet, mobilenet, resnet
from compressor import Budget, Cost, allocate, fit, measure, trace
from compressor.importance import frobenius

NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "ResNet-18": partial(resnet, (2, 2, 2, 2), wide=0),
    "ResNet-50": partial(resnet, (3, 4, 6, 3), wide=4),
    "MobileNet-V2": mobilenet,
    "DenseNet-121": densenet,
    "EfficientNet-B0": efficientnet,
    "Swin-T": Swin,
    "wide ResNet-18": partial(resnet, (2, 2, 2, 2), wide=0, width=148, side=66),
}
"""Pictures of 224 by 224, and a network of 61 million parameters and 1.2 x 10^9 MACs."""

MOST = 1536
"""Steps of Torch-Pruning at which it is given up."""

UNUSED = 0.01


def budget_of(cost: Cost) -> Budget:
    """Half of everything."""
    return Budget(params=cost.params // 2, macs=cost.macs // 2)


def export(model: nn.Module, _: Budget) -> None:
    """PyTorch's own export."""
    example: Tensor = model.example_input_array
    torch.export.export(model, (example,))


def allocated(model: nn.Module, budget: Budget) -> None:
    """Trace and allocate."""
    graph = trace(model)
    allocate(graph, frobenius(graph, dict(model.named_parameters())), budget)


def fitted(model: nn.Module, budget: Budget) -> nn.Module:
    """The whole way."""
    return fit(model, budget=budget).model


def pruned(model: nn.Module, budget: Budget, steps: int) -> nn.Module:
    """Torch-Pruning's loop, in place."""

    def fits(model: nn.Module) -> bool:
        macs, params = torch_pruning.utils.count_ops_and_params(model, model.example_input_array)
        return params <= budget.caps["params"] and macs <= budget.caps["macs"]

    return torch_pruning_loop(model, fits, globally=False, steps=steps)


WORKS: Mapping[str, Callable[[nn.Module, Budget], nn.Module | None]] = {
    "export": export,
    "allocate": allocated,
    "fit": fitted,
    "12 steps": partial(pruned, steps=12),
}
FINE = "fine steps"


def made(network: str, work: str, seed: int) -> Record:
    """One record, made by a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_fine if work == FINE else _timed, network, work, seed).result()


def _timed(network: str, work: str, seed: int) -> Record:
    return _done(network, WORKS[work], seed)


def _fine(network: str, _: str, seed: int) -> Record:
    """Torch-Pruning with twice as many steps, until it leaves little; seconds of the last loop."""
    steps = 12
    while steps <= MOST:
        found = _done(network, partial(pruned, steps=steps), seed)
        if "failed" in found or found["unused"] <= UNUSED:
            return found | {"steps": steps}
        steps *= 2
    return {"failed": f"more than {MOST} steps"}


def _done(network: str, do: Callable[[nn.Module, Budget], nn.Module | None], seed: int) -> Record:
    """Seconds of this process, memory, and what is left of the tighter cap."""
    one_thread()
    small = mobilenet(32).eval()
    do(small, budget_of(measure(small)))
    torch.manual_seed(seed)
    model = NETWORKS[network]().eval()
    before = measure(model)
    budget, results, seconds = budget_of(before), list[nn.Module | None](), list[float]()

    def call() -> None:
        start = process_time()
        results.append(do(model, budget))
        seconds.append(process_time() - start)

    gc.collect()  # what the libraries' imports have left is nobody's work
    try:
        peak = added(call)
    except Exception as error:  # noqa: BLE001 - what stops a rival is a result
        return {"failed": f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"}
    found: Record = {"seconds": seconds[0], "params": before.params, "macs": before.macs}
    found["memory"] = None if peak is None else peak * MIB / before.bytes
    if results[0] is not None:
        after = measure(results[0], model.example_input_array)
        left = [1 - getattr(after, name) / cap for name, cap in budget.caps.items()]
        found["unused"] = min(left)
    return found


HEAD = (
    "network", "parameters", "MACs", "export, s", "trace + allocate, s", "/ export",
    "fit, s", "12 steps, s", "fit / 12 steps", "unused", "fine steps", "s", "fit / fine steps",
    "memory of allocate", "of fit",
)  # fmt: skip


def report(records: Records) -> str:
    """The page."""
    rows = [_row(records, network) for network in NETWORKS if records.of(network=network)]
    counts = [len(records.of(network=r[0], work=work)) for r in rows for work in WORKS]
    n = " to ".join(map(str, sorted({min(counts), max(counts)}))) if counts else "0"
    rival = f"torch-pruning {version('torch-pruning')}"
    return page(
        "# Tracing, allocating and fitting to half of the parameters and MACs, without data",
        f"{versions(rival)}, CPU seconds, a process a figure, n = {n} (fine steps: 1). Cells are "
        "medians, ratios least / median / greatest of figures of one seed, taken within the same "
        "hour. `unused` is what Torch-Pruning leaves of the tighter cap "
        "after steps of a twelfth, in percent; `fine steps` are the steps with which it leaves at "
        "most 1 %. Memory is the peak above what was held before, in multiples of the weights.",
        table(HEAD, rows),
    )


def _row(records: Records, network: str) -> list[str]:
    def values(field: str, work: str) -> list[float]:
        return [
            r[field] for r in records.of(network=network, work=work) if r.get(field) is not None
        ]

    def middle(field: str, work: str, form: str = ".2f", factor: float = 1.0) -> str:
        found = values(field, work)
        return f"{median(found) * factor:{form}}" if found else "-"

    def ratio(work: str, other: str) -> str:
        first, second = (
            {r["seed"]: r["seconds"] for r in records.of(network=network, work=w) if "seconds" in r}
            for w in (work, other)
        )
        both = sorted(first.keys() & second.keys())
        return (
            extremes(ratios([first[s] for s in both], [second[s] for s in both])) if both else "-"
        )

    return [
        network,
        middle("params", "fit", ",.0f"),
        middle("macs", "fit", ",.0f"),
        middle("seconds", "export"),
        middle("seconds", "allocate"),
        ratio("allocate", "export"),
        middle("seconds", "fit"),
        middle("seconds", "12 steps"),
        ratio("fit", "12 steps"),
        middle("unused", "12 steps", ".1f", 100),
        middle("steps", FINE, ".0f"),
        middle("seconds", FINE),
        ratio("fit", FINE),
        middle("memory", "allocate", ".1f"),
        middle("memory", "fit", ".1f"),
    ]


def _options() -> Namespace:
    return started(recording(__doc__, network=NETWORKS, work=(*WORKS, FINE)))


def main() -> None:
    """Make the missing runs, or write the page."""
    options = _options()
    runs = every(made, options.seed, network=options.network, work=options.work)
    run_or_report(__file__, options, runs, report)


if __name__ == "__main__":
    main()
