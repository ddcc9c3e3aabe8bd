"""A picture of what networks are worth against what they cost, with the front of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.reports.figures import BEFORE, blank, counted, write
from compressor.reports.sweeps.pareto import Floats, staircase

WIDE = 5
"""Ratio of the greatest to the least cost above which an axis is logarithmic."""
NAMES = {"params": "parameters", "nonzero": "parameters that are not zero", "macs": "MACs"}
"""What axes are called that are called otherwise than their cost."""


def draw(means: Sequence[Mapping[str, Any]], costs: Sequence[str], path: Path) -> None:
    """Write the picture: a panel a cost, a colour a method, rings around the front of all costs.

    Args:
        means: Rows of `Sweep.means` that have a value, at least one.
        costs: The costs.
        path: Of the PNG.
    """
    figure = blank(1.5 + 4.2 * len(costs), 4.2)
    panels: Any = figure.subplots(1, len(costs), squeeze=False, sharey=True)[0]
    for axes, cost in zip(panels, costs, strict=True):
        _panel(axes, [one for one in means if one[cost] is not None], cost)
    panels[0].set_ylabel("value")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    write(figure, path)


def _panel(axes: Any, means: Sequence[Mapping[str, Any]], cost: str) -> None:
    methods = list(dict.fromkeys(one["method"] for one in means))
    for number, method in enumerate(methods):
        mine = sorted((o for o in means if o["method"] == method), key=lambda one: one[cost])
        x, y = (np.array([one[n] for one in mine], np.float64) for n in (cost, "value"))
        errors = np.array([one["error"] or 0.0 for one in mine])
        axes.errorbar(
            x, y, errors, color=f"C{number}", marker="o", ms=4, lw=1, capsize=2, label=method
        )
    front = [one for one in means if one["front"]]
    axes.scatter(
        [one[cost] for one in front], [one["value"] for one in front], s=90,
        facecolors="none", edgecolors="black", label="front", zorder=3,
    )  # fmt: skip
    x, y = (np.array([one[n] for one in means], np.float64) for n in (cost, "value"))
    _steps(axes, x, y)
    if len(x) and x.max() > WIDE * x.min():
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(counted())
    axes.set_xlabel(NAMES.get(cost, cost))
    axes.grid(visible=True, which="both", alpha=0.2)


def _steps(axes: Any, costs: Floats, values: Floats) -> None:
    """The best value at each cost, behind everything."""
    if not len(costs):
        return
    steps = staircase(costs, values)
    corners = np.append(costs[steps], costs.max()), np.append(values[steps], values.max())
    axes.step(*corners, where="post", color=BEFORE, lw=4, zorder=0)
