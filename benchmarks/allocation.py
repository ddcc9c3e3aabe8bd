"""How good and how fast the allocation is, on the shapes of known networks.

    python -m benchmarks.allocation            # table into benchmarks/allocation.md
    python -m benchmarks.allocation --quick    # one seed, no mixed-integer program, no file

Scores are log-normal within an axis (spread 0.3, 0.8, 1.4) and scaled between axes by three laws:
none, the root of the fan-in (as raw Frobenius norms are), and random with more weight on early
layers (as Taylor scores are). The objective is `LogRetention`, so its gap is the largest possible
shortfall of the weighted geometric mean of the retained scores; the harmonic mean, which `fit`
takes where there is no data, is run beside it and held to its own bound. Seconds are CPU seconds of
one `allocate` call from a graph whose costs are known, in one thread.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy starts its threads

import argparse
import importlib.metadata
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
from numpy.typing import NDArray

from benchmarks.global_threshold import threshold
from benchmarks.shapes import NETWORKS
from compressor.allocation import Allocation, LogRetention, Method, Objective, PowerMean, allocate
from compressor.budget import Budget
from compressor.graph.graph import Graph
from compressor.run.progress import Bar
from compressor.storage import write_bytes

TABLE = Path(__file__).with_suffix(".md")
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
    """One instance.

    Attributes:
        network: Its name in `NETWORKS`.
        budget: Its name in `BUDGETS`.
        spread: Standard deviation of the log of the scores within an axis.
        law: How axes are scaled against each other.
        seed: Of the scores.
    """

    network: str
    budget: str
    spread: float
    law: str
    seed: int


@dataclass(frozen=True)
class Measured:
    """What one method did in one case.

    Attributes:
        shortfall: Largest possible shortfall of the geometric mean against the proven bound.
        used: Used part of every cap.
        binding: Caps that hold the result down.
        seconds: CPU seconds.
        evaluations: How often the dual was evaluated.
        over: Caps that were exceeded.
        room: Axes that could be one unit wider within the caps.
    """

    shortfall: float
    used: dict[str, float]
    binding: tuple[str, ...]
    seconds: float
    evaluations: int
    over: int
    room: int


def cases(networks: Iterable[str], seeds: int) -> Iterator[Case]:
    """All instances."""
    for network in networks:
        laws, count = (LAWS[:1], 1) if network in FEW else (LAWS, seeds)
        for budget in BUDGETS:
            for spread in SPREADS:
                for law in laws:
                    for seed in range(count):
                        yield Case(network, budget, spread, law, seed)


def scores(graph: Graph, case: Case) -> NDArray[np.float64]:
    """Seeded scores of one case."""
    number = [case.seed, SPREADS.index(case.spread), LAWS.index(case.law)]
    generator = np.random.default_rng(number)
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


def run(graph: Graph, case: Case) -> dict[str, Measured]:
    """All methods on one case."""
    values, limits = scores(graph, case), caps(graph, case.budget)
    results: dict[str, Measured] = {}
    first = 0.0
    for name, (method, objective) in METHODS.items():
        start = process_time()
        found = allocate(graph, values, limits, method=method, objective=objective)
        seconds = process_time() - start
        first = first if results or found.bound is None else found.bound
        bound = first if found.bound is None else found.bound
        results[name] = _measured(graph, found, bound, limits, seconds)
    return results


def _measured(
    graph: Graph, found: Allocation, bound: float, limits: Budget, seconds: float
) -> Measured:
    """Compare with the bound and recount."""
    weight = sum(axis.writers for axis in graph.axes)
    widths = found.structure.widths
    over = sum(getattr(graph, name)(widths) > cap for name, cap in limits.caps.items())
    used = {name: 1.0 - unused for name, unused in found.unused.items()}
    shortfall = found.objective.gap(found.value, bound, weight)
    room = could_grow(graph, widths, limits)
    return Measured(shortfall, used, found.binding, seconds, found.evaluations, over, room)


def could_grow(graph: Graph, widths: NDArray[np.int64], limits: Budget) -> int:
    """How many axes could be one unit wider, by counting each such network."""
    total = 0
    for axis in np.flatnonzero(widths < graph.sizes):
        wider = widths.copy()
        wider[axis] += 1
        spent = ((getattr(graph, name)(wider), cap) for name, cap in limits.caps.items())
        total += all(cost <= cap for cost, cap in spent)
    return total


def against_exact(graph: Graph, case: Case) -> tuple[float, float, float]:
    """Shortfall against a mixed-integer optimum, its own proven gap, and its CPU seconds."""
    values, limits = scores(graph, case), caps(graph, case.budget)
    ours = allocate(graph, values, limits, objective=OBJECTIVE)
    start = process_time()
    oracle = allocate(graph, values, limits, method="exact", objective=OBJECTIVE)
    seconds = process_time() - start
    weight = sum(axis.writers for axis in graph.axes)
    assert oracle.gap is not None  # noqa: S101 - the solver always proves a bound
    return OBJECTIVE.gap(ours.value, oracle.value, weight), oracle.gap, seconds


def percent(value: float) -> str:
    """Two significant digits of a part, in percent."""
    return f"{100 * value:.2g}"


def _header(*columns: str) -> list[str]:
    """The first two lines of a table."""
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]


def gap_rows(measured: dict[Case, dict[str, Measured]]) -> list[str]:
    """One row a network and budget, and one a network over all budgets of at least 10 %."""
    lines = _header(
        "network",
        "budget",
        "n",
        "gap % median / p99 / max",
        "tightest cap used % median / min",
        "a binding cap under 99.5 % used",
        "evaluations",
        "CPU s median / max",
    )
    networks = dict.fromkeys(case.network for case in measured)
    groups = [(n, b, (b,)) for n in networks for b in BUDGETS]
    mild = tuple(b for b in BUDGETS if b != "deep")
    groups += [(n, "all but deep", mild) for n in networks]
    groups += [("**all**", "all but deep", mild), ("**all**", "deep", ("deep",))]
    for network, name, budgets in groups:
        inside = [
            results["dual"]
            for case, results in measured.items()
            if network in {case.network, "**all**"} and case.budget in budgets
        ]
        gaps = np.array([m.shortfall for m in inside])
        tightest = np.array([max(m.used.values()) for m in inside])
        loose = sum(min(m.used[name] for name in m.binding) < ENOUGH for m in inside)
        seconds = np.array([m.seconds for m in inside])
        counts = np.median([m.evaluations for m in inside])
        lines.append(
            f"| {network} | {name} | {len(inside)} | {percent(float(np.median(gaps)))} / "
            f"{percent(float(np.quantile(gaps, 0.99)))} / {percent(gaps.max())} | "
            f"{100 * np.median(tightest):.2f} / {100 * tightest.min():.2f} | {loose} | "
            f"{counts:.0f} | {np.median(seconds):.3f} / {seconds.max():.3f} |"
        )
    return lines


def method_rows(measured: dict[Case, dict[str, Measured]]) -> list[str]:
    """How far each method may be from the best possible."""
    lines = _header(
        "method",
        "n",
        "shortfall % median / p99 / max, all but deep",
        "the same, deep",
        "caps exceeded",
        "could still grow",
        "CPU s median",
    )
    for method in METHODS:
        parts = []
        for deep in (False, True):
            chosen = [r[method] for c, r in measured.items() if (c.budget == "deep") == deep]
            gaps = np.array([m.shortfall for m in chosen])
            numbers = float(np.median(gaps)), float(np.quantile(gaps, 0.99)), float(gaps.max())
            parts.append(" / ".join(map(percent, numbers)))
        everything = [results[method] for results in measured.values()]
        over, room = sum(m.over for m in everything), sum(m.room > 0 for m in everything)
        seconds = np.median([m.seconds for m in everything])
        lines.append(
            f"| {method} | {len(everything)} | {parts[0]} | {parts[1]} | {over} | {room} "
            f"| {seconds:.4f} |"
        )
    return lines


def exact_rows(bar: Bar) -> list[str]:
    """`dual` against the mixed-integer program."""
    lines = _header(
        "network",
        "n",
        "shortfall of `dual` % median / max",
        "gap left by the solver % max",
        "CPU s of the solver, median / max",
    )
    bar.begin("mixed-integer program", len(EXACT) * len(BUDGETS))
    for network in EXACT:
        graph, rows = NETWORKS[network](), []
        for budget in BUDGETS:
            rows.append(against_exact(graph, Case(network, budget, 0.8, "flat", 0)))
            bar.advance()
        short, left, seconds = np.array(rows).T
        lines.append(
            f"| {network} | {len(rows)} | {percent(float(np.median(short)))} / "
            f"{percent(short.max())} | {percent(left.max())} | {np.median(seconds):.1f} / "
            f"{seconds.max():.1f} |"
        )
    return lines


def network_rows() -> list[str]:
    """What the networks are."""
    lines = _header("network", "axes", "units", "parameters", "MACs")
    for name, make in NETWORKS.items():
        graph = make()
        full = graph.sizes
        cells = len(graph.axes), graph.units, graph.params(full), graph.macs(full)
        lines.append(f"| {name} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    return lines


def measure_all(networks: Iterable[str], seeds: int, bar: Bar) -> dict[Case, dict[str, Measured]]:
    """Run everything; the first case of a network once before, so that nothing is timed cold."""
    planned = list(cases(networks, seeds))
    bar.begin("allocation", len(planned))
    measured: dict[Case, dict[str, Measured]] = {}
    graph, known = Graph((), {}, ()), ""
    for case in planned:
        if case.network != known:
            graph, known = NETWORKS[case.network](), case.network
            run(graph, case)
        measured[case] = run(graph, case)
        bar.advance(case.network)
    return measured


def versions() -> str:
    """What this was measured with."""
    names = ("numpy", "scipy", "cvxpy", "highspy")
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return f"Python {platform.python_version()}, {found}, one thread"


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, no solver, no file")
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    options = parser.parse_args()
    with Bar() as bar:
        measured = measure_all(options.network, 1 if options.quick else 2, bar)
        exact = [] if options.quick else exact_rows(bar)
    text = "\n".join(
        [
            "# Allocation: proven gaps, use of the caps, and time",
            "",
            f"{versions()}; n = {len(measured)} instances. {_explanation()}",
            "",
            *method_rows(measured),
            "",
            "## `dual`, by network",
            "",
            *gap_rows(measured),
            "",
            *(["## Against the mixed-integer program", "", *exact, ""] if exact else []),
            "## Networks",
            "",
            *network_rows(),
            "",
        ]
    )
    print(text)
    if not options.quick:
        write_bytes(TABLE, text.encode())


def _explanation() -> str:
    """What the columns say."""
    parts = "; ".join(
        f"{name}: " + ", ".join(f"{resource} {100 * part:g} %" for resource, part in limits.items())
        for name, limits in BUDGETS.items()
    )
    return (
        "Objective: log-retention. Gap and shortfall: how far the weighted geometric mean of the "
        "retained scores may be below the best possible within the caps (proven). Could still "
        "grow: instances in which some axis could be one unit wider within the caps. CPU seconds "
        f"of one `allocate` call on a shared machine. Budgets: {parts}."
    )


if __name__ == "__main__":
    main()
