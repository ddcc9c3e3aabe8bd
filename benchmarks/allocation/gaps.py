"""Quality and speed of the allocation, on the shapes of known networks.

    python -m benchmarks.allocation.gaps          # table into gaps.md
    python -m benchmarks.allocation.gaps --quick  # one seed, no mixed-integer program, no file

Scores are log-normal within an axis (spread 0.3, 0.8, 1.4) and scaled between axes by three laws:
none, the root of the fan-in (as raw Frobenius norms are), and random with more weight on early
layers (as Taylor scores are). The objective is `LogRetention`, so its gap is the largest possible
shortfall of the weighted geometric mean of the retained scores; the harmonic mean, which `fit`
takes without data, is held to its own bound. Seconds are CPU seconds of one `allocate` call from a
graph whose costs are known, in one thread.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.allocation.global_threshold import threshold
from benchmarks.allocation.shapes import NETWORKS
from benchmarks.common.command import parser, started
from benchmarks.common.tables import listed, page, publish, table
from compressor.allocation import LogRetention, Method, Objective, PowerMean, allocate
from compressor.budget import Budget
from compressor.graph.graph import Graph
from compressor.run.progress import Bar

BUDGETS: dict[str, dict[str, float]] = {
    "P": {"params": 0.3},
    "M": {"macs": 0.25},
    "PM": {"params": 0.35, "macs": 0.35},
    "PMB": {"params": 0.4, "macs": 0.4, "bytes": 0.38},
    "deep": {"params": 0.06, "macs": 0.06},
}
SPREADS = (0.3, 0.8, 1.4)
LAWS = ("flat", "fan-in", "taylor")
OBJECTIVE = LogRetention()
METHODS: dict[str, tuple[str | Method, Objective]] = {
    "dual": ("dual", OBJECTIVE),
    "dual, harmonic mean": ("dual", PowerMean(1)),
    "uniform": ("uniform", OBJECTIVE),
    "threshold": (threshold, OBJECTIVE),
}
"""Method and objective by the name of their row; those without a bound are held to the first's."""
EXACT = ("chain10", "BC-ResNet-ASC-8", "ResNet-18")
"""Networks small enough for the mixed-integer program."""
FEW = ("chain500",)
"""Networks that are run with one law and one seed."""
ENOUGH = 0.995
"""Used part of a cap that counts as all of it."""


@dataclass(frozen=True)
class Case:
    """One instance: keys of `NETWORKS`, `BUDGETS`, `LAWS`; logs of scores deviate by `spread`."""

    network: str
    budget: str
    spread: float
    law: str
    seed: int


def cases(networks: Iterable[str], seeds: int) -> Iterator[Case]:
    """All instances."""
    for network in networks:
        laws, count = (LAWS[:1], 1) if network in FEW else (LAWS, seeds)
        for budget, spread, law, seed in product(BUDGETS, SPREADS, laws, range(count)):
            yield Case(network, budget, spread, law, seed)


def scores(graph: Graph, case: Case) -> NDArray[np.float64]:
    """Seeded scores of one case."""
    seed = [case.seed, SPREADS.index(case.spread), LAWS.index(case.law)]
    generator = np.random.default_rng(seed)
    values = np.exp(generator.normal(0.0, case.spread, graph.units))
    depth = np.arange(len(graph.axes)) / max(len(graph.axes) - 1, 1)
    factor = {
        "flat": np.ones(len(graph.axes)),
        "fan-in": np.sqrt(fan_in(graph)),
        "taylor": np.exp(generator.normal(0.0, 1.0, len(graph.axes)) - 2.0 * depth),
    }[case.law]
    return values * factor[graph.axis_of]


def fan_in(graph: Graph) -> NDArray[np.float64]:
    """Weights in one filter of the layers that write each axis, all layers together."""
    total = np.zeros(len(graph.axes))
    for site in graph.sites:
        weight = graph.weights[site.weight]
        for axis in np.unique(graph.axis_of[site.writes.owner[site.writes.owner >= 0]]):
            total[axis] += np.prod([dim.size for dim in weight.dims[1:]])
    return total


def caps(graph: Graph, budget: str) -> Budget:
    """Caps as parts of the full cost."""
    full = {name: getattr(graph, name)(graph.sizes) for name in BUDGETS[budget]}
    return Budget(**{name: int(part * full[name]) for name, part in BUDGETS[budget].items()})


def run(graph: Graph, case: Case) -> Iterator[dict[str, Any]]:
    """All methods on one case, recounted and compared with a bound: their own or the first's."""
    values, limits = scores(graph, case), caps(graph, case.budget)
    weight = sum(axis.writers for axis in graph.axes)
    first: float | None = None
    for name, (method, objective) in METHODS.items():
        start = process_time()
        found = allocate(graph, values, limits, method=method, objective=objective)
        seconds = process_time() - start
        bound = first if found.bound is None else found.bound
        first = bound if first is None else first
        assert bound is not None  # noqa: S101 - the first method proves one
        used = {cap: 1.0 - unused for cap, unused in found.unused.items()}
        widths = found.structure.widths
        yield {
            "network": case.network,
            "budget": case.budget,
            "method": name,
            "shortfall": found.objective.gap(found.value, bound, weight),
            "tightest": max(used.values()),
            "loose": bool(found.binding) and min(used[cap] for cap in found.binding) < ENOUGH,
            "seconds": seconds,
            "evaluations": found.evaluations,
            "over": exceeded(graph, widths, limits),
            "room": could_grow(graph, widths, limits),
        }


def exceeded(graph: Graph, widths: NDArray[np.int64], limits: Budget) -> int:
    """Count the caps that some widths exceed."""
    return sum(getattr(graph, name)(widths) > cap for name, cap in limits.caps.items())


def could_grow(graph: Graph, widths: NDArray[np.int64], limits: Budget) -> bool:
    """True if some axis could be one unit wider, by counting each such network."""
    axes = np.arange(len(widths))
    wider = (widths + (axes == axis) for axis in np.flatnonzero(widths < graph.sizes))
    return any(not exceeded(graph, each, limits) for each in wider)


def against_exact(graph: Graph, case: Case) -> tuple[float, float, float]:
    """Shortfall against a mixed-integer optimum, its own proven gap, and its CPU seconds."""
    problem = graph, scores(graph, case), caps(graph, case.budget)
    ours = allocate(*problem, objective=OBJECTIVE)
    start = process_time()
    oracle = allocate(*problem, method="exact", objective=OBJECTIVE)
    seconds = process_time() - start
    weight = sum(axis.writers for axis in graph.axes)
    assert oracle.gap is not None  # noqa: S101 - the solver always proves a bound
    return OBJECTIVE.gap(ours.value, oracle.value, weight), oracle.gap, seconds


def percent(value: float) -> str:
    """Two significant digits of a part, in percent."""
    return f"{100 * value:.2g}"


def spread(gaps: pd.Series) -> str:
    """Median, 99th percentile and greatest of parts, in percent."""
    return " / ".join(map(percent, (gaps.median(), gaps.quantile(0.99), gaps.max())))


def by_network(dual: pd.DataFrame) -> str:
    """A row a network and budget, and one a network over all budgets of at least 10 %."""

    def row(network: str, budget: str, inside: pd.DataFrame) -> list[str]:
        tightest, seconds = 100 * inside["tightest"], inside["seconds"]
        return [
            network,
            budget,
            str(len(inside)),
            spread(inside["shortfall"]),
            f"{tightest.median():.2f} / {tightest.min():.2f}",
            str(inside["loose"].sum()),
            f"{inside['evaluations'].median():.0f}",
            f"{seconds.median():.3f} / {seconds.max():.3f}",
        ]

    mild, deep = dual[dual["budget"] != "deep"], dual[dual["budget"] == "deep"]
    groups = [
        *((*key, inside) for key, inside in dual.groupby(["network", "budget"], sort=False)),
        *((n, "all but deep", inside) for n, inside in mild.groupby("network", sort=False)),
        ("**all**", "all but deep", mild),
        ("**all**", "deep", deep),
    ]
    head = (
        "network", "budget", "n", "gap % median / p99 / max",
        "tightest cap used % median / min", "a binding cap under 99.5 % used", "evaluations",
        "CPU s median / max",
    )  # fmt: skip
    return table(head, (row(*group) for group in groups))


def by_method(measured: pd.DataFrame) -> str:
    """Tabulate how far each method may be from the best possible."""
    rows: list[list[str]] = []
    for name, found in measured.groupby("method", sort=False):
        deep = found["budget"] == "deep"
        gaps = [spread(found["shortfall"][~deep]), spread(found["shortfall"][deep])]
        counts = [str(found["over"].sum()), str(found["room"].sum())]
        median = f"{found['seconds'].median():.4f}"
        rows.append([str(name), str(len(found)), *gaps, *counts, median])
    head = (
        "method", "n", "shortfall % median / p99 / max, all but deep", "the same, deep",
        "caps exceeded", "could still grow", "CPU s median",
    )  # fmt: skip
    return table(head, rows)


def exact(bar: Bar) -> str:
    """`dual` against the mixed-integer program."""
    bar.begin("mixed-integer program", len(EXACT) * len(BUDGETS))
    rows: list[list[str]] = []
    for network in EXACT:
        graph, found = NETWORKS[network](), []
        for budget in BUDGETS:
            found.append(against_exact(graph, Case(network, budget, 0.8, "flat", 0)))
            bar.advance()
        short, left, seconds = np.array(found).T
        shortfall = f"{percent(float(np.median(short)))} / {percent(short.max())}"
        times = f"{np.median(seconds):.1f} / {seconds.max():.1f}"
        rows.append([network, str(len(found)), shortfall, percent(left.max()), times])
    head = (
        "network", "n", "shortfall of `dual` % median / max", "gap left by the solver % max",
        "CPU s of the solver, median / max",
    )  # fmt: skip
    return table(head, rows)


def networks() -> str:
    """Describe the networks."""

    def row(name: str) -> list[str]:
        graph = NETWORKS[name]()
        counts = len(graph.axes), graph.units, graph.params(graph.sizes), graph.macs(graph.sizes)
        return [name, *(f"{count:,}" for count in counts)]

    return table(("network", "axes", "units", "parameters", "MACs"), map(row, NETWORKS))


def measure_all(networks: Iterable[str], seeds: int, bar: Bar) -> pd.DataFrame:
    """Run everything; the first case of a network once before, so that nothing is timed cold."""
    planned = list(cases(networks, seeds))
    bar.begin("allocation", len(planned))
    rows: list[dict[str, Any]] = []
    graph, known = Graph((), {}, ()), ""
    for case in planned:
        if case.network != known:
            graph, known = NETWORKS[case.network](), case.network
            list(run(graph, case))
        rows += run(graph, case)
        bar.advance(case.network)
    return pd.DataFrame(rows)


def about(instances: int) -> str:
    """Say what this was measured with, and explain the columns."""
    names = ("numpy", "scipy", "cvxpy", "highspy")
    packages = listed(f"{name} {importlib.metadata.version(name)}" for name in names)
    budgets = "; ".join(
        f"{name}: {listed(f'{resource} {100 * part:g} %' for resource, part in limits.items())}"
        for name, limits in BUDGETS.items()
    )
    return (
        f"Python {platform.python_version()}, {packages}, one thread; n = {instances} instances. "
        "Objective: log-retention. Gap and shortfall: how far the weighted geometric mean of the "
        "retained scores may be below the best possible within the caps (proven). Could still "
        "grow: instances in which some axis could be one unit wider within the caps. CPU seconds "
        f"of one `allocate` call on a shared machine. Budgets: {budgets}."
    )


def main() -> None:
    """Measure, print, and write the table."""
    made = parser(__doc__, network=NETWORKS)
    made.add_argument("--quick", action="store_true", help="one seed, no solver, no file")
    options = started(made)
    with Bar() as bar:
        measured = measure_all(options.network, 1 if options.quick else 2, bar)
        solved = [] if options.quick else ["## Against the mixed-integer program", exact(bar)]
    text = page(
        "# Allocation: proven gaps, use of the caps, and time",
        about(len(measured) // len(METHODS)),
        by_method(measured),
        "## `dual`, by network",
        by_network(measured[measured["method"] == "dual"]),
        *solved,
        "## Networks",
        networks(),
    )
    publish(text, None if options.quick else Path(__file__).with_suffix(".md"))


if __name__ == "__main__":
    main()
