"""The Pareto front of a sweep: accuracy against MACs and bytes, as a table and a picture.

A candidate is dominated by another that is at least as good in accuracy, MACs and bytes and better
in one of them. The front is those that no other dominates.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from compressor.reports.sweeps import pareto
from compressor.storage import write_bytes
from recipes.sweeps.search import Point

FRONT, BEATEN = "#1b6ca8", "#9aa5b1"
WIDE = 5
"""Ratio of the greatest to the least cost above which an axis is logarithmic."""
LABELLED = 30
"""Most candidates that are all numbered in the picture; of more, the front alone is."""


@dataclass(frozen=True)
class Candidate:
    """A point and its outcome, a mean over its seeds.

    Attributes:
        number: Place in the table and the picture, from 1.
        point: Settings.
        accuracies: Accuracy on the validation part, 0 to 1, one for each seed.
        macs: Multiply-accumulates.
        bytes: Length of the files.
        params: Parameters.
    """

    number: int
    point: Point
    accuracies: tuple[float, ...]
    macs: float
    bytes: float
    params: float

    @property
    def accuracy(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def error(self) -> float:
        """Standard error of that mean; not a number where there is one seed."""
        return pareto.standard_error(self.accuracies)


def candidate(number: int, point: Point, runs: Sequence[Mapping[str, float]]) -> Candidate:
    """Average the figures of a point's trials."""

    def mean(name: str) -> float:
        return float(np.mean([run[name] for run in runs]))

    accuracies = tuple(run["accuracy"] for run in runs)
    return Candidate(number, point, accuracies, mean("macs"), mean("bytes"), mean("params"))


def dominators(found: Sequence[Candidate]) -> list[Candidate | None]:
    """For each candidate the most accurate of the front that dominates it; None on the front."""
    qualities = np.array([(one.accuracy, -one.macs, -one.bytes) for one in found])
    places = pareto.dominators(qualities) if found else []
    return [None if place is None else found[place] for place in places]


def markdown(found: Sequence[Candidate]) -> str:
    """The candidates as a table, the most accurate first."""
    if not found:
        return "No trial is done.\n"
    names = [text.partition("=")[0] for text in found[0].point]
    head = ["", *names, "validation %", "seeds", "MACs", "bytes", "parameters", "dominated by"]
    pairs = zip(found, dominators(found), strict=True)
    ordered = sorted(pairs, key=lambda pair: (-pair[0].accuracy, pair[0].macs))
    rows = [head, ["---"] * len(head), *(_cells(one, better) for one, better in ordered)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(one: Candidate, better: Candidate | None) -> list[str]:
    """A candidate's row, and the number of what dominates it."""
    spread = "" if math.isnan(one.error) else f" ± {100 * one.error:.2f}"
    return [
        f"{one.number}",
        *(_short(text.partition("=")[2]) for text in one.point),
        f"{100 * one.accuracy:.2f}{spread}",
        f"{len(one.accuracies)}",
        *(f"{value:,.0f}" for value in (one.macs, one.bytes, one.params)),
        "**front**" if better is None else f"{better.number}",
    ]


def _short(text: str) -> str:
    """A proposed number with four digits; the trial's folder has all of them."""
    try:
        return text if len(text) <= 8 else f"{float(text):.4g}"
    except ValueError:
        return text


def plot(found: Sequence[Candidate], path: Path, title: str) -> None:
    """Draw accuracy of at least one candidate against MACs and bytes, as PNG, in one step."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a screen
    figure.suptitle(title)
    free = [better is None for better in dominators(found)]
    left, right = figure.subplots(1, 2, sharey=True)
    _panel(left, found, free, np.array([one.macs for one in found]), "MACs")
    _panel(right, found, free, np.array([one.bytes for one in found]), "bytes")
    left.set_ylabel("validation accuracy, %")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    write_bytes(path, buffer.getvalue())


def _panel(
    axes: Axes, found: Sequence[Candidate], free: Sequence[bool], costs: np.ndarray, what: str
) -> None:
    """One cost: every candidate, its error, its number, and the front of this cost alone."""
    heights = np.array([100 * one.accuracy for one in found])
    errors = np.array([0 if math.isnan(one.error) else 100 * one.error for one in found])
    axes.errorbar(costs, heights, errors, fmt="none", ecolor=BEATEN, capsize=2, zorder=1)
    mask = np.array(free)
    for chosen, colour, label in (
        (~mask, BEATEN, "dominated"),
        (mask, FRONT, "front of accuracy, MACs and bytes"),
    ):
        if chosen.any():
            axes.scatter(costs[chosen], heights[chosen], color=colour, zorder=3, label=label)
    steps = pareto.staircase(costs, heights)
    corners = np.append(costs[steps], costs.max()), np.append(heights[steps], heights.max())
    axes.step(*corners, where="post", color=FRONT, lw=1, label="best at this cost", zorder=2)
    for one, cost, height, shown in zip(found, costs, heights, mask, strict=True):
        if shown or len(found) <= LABELLED:
            axes.annotate(
                f"{one.number}", (cost, height), (4, 4), textcoords="offset points", fontsize=8
            )
    if costs.max() > WIDE * costs.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel(what)
    axes.grid(visible=True, which="both", alpha=0.2)
