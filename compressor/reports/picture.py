"""A picture of a compression: what every layer kept, and the totals against the caps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compressor.reports.facts import Epoch, Facts
from compressor.reports.figures import AFTER, BEFORE, CAP, blank, counted, write


def plot(report: Facts, path: Path) -> None:
    """Write the picture as PNG, in one step; an ImportError without matplotlib."""
    rows = [layer for layer in report.layers if any(layer.macs)]
    epochs = [epoch for epoch in report.log if epoch.extra]
    height = 2.2 + 0.24 * len(rows)
    figure = blank(13, height + (2.6 if epochs else 0))
    parts: Any = figure.subfigures(2, 1, height_ratios=(height, 2.6)) if epochs else [figure]
    panels: Any = parts[0].subplots(1, 4, width_ratios=(3, 3, 3, 1.6))
    if epochs:
        _solver(parts[1], epochs)
    names = [layer.module for layer in rows]
    channels = [layer.channels or (0, 0) for layer in rows]
    _bars(panels[0], names, channels, "channels")
    _bars(panels[1], None, [layer.params for layer in rows], "parameters")
    _bars(panels[2], None, [layer.macs for layer in rows], "MACs")
    _totals(panels[3], report)
    figure.suptitle(f"{report.model} under {report.budget}")
    write(figure, path)


def _bars(axes: Any, names: list[str] | None, pairs: list[tuple[int, int]], title: str) -> None:
    """Horizontal bars, one per layer from top to bottom: before behind after."""
    places = range(len(pairs))
    axes.barh(places, [before for before, _ in pairs], color=BEFORE, label="before")
    axes.barh(places, [after for _, after in pairs], color=AFTER, height=0.5, label="after")
    axes.set_yticks(list(places), names or [""] * len(pairs), fontsize=7)
    axes.invert_yaxis()
    axes.set_title(title)
    axes.xaxis.set_major_formatter(counted())
    if names is not None:
        axes.legend(fontsize=7)


def _totals(axes: Any, report: Facts) -> None:
    """Each capped cost before and after, as a multiple of its cap."""
    caps = report.budget.caps
    costs = (report.before, report.after)
    if report.files is not None:
        costs = tuple(replace(c, bytes=n) for c, n in zip(costs, report.files, strict=True))
    for place, (name, cap) in enumerate(caps.items()):
        before, after = (getattr(cost, name) / cap for cost in costs)
        axes.bar(place, before, color=BEFORE)
        axes.bar(place, after, color=AFTER, width=0.5)
        axes.text(place, max(before, after), f"{after:.1%}", ha="center", va="bottom", fontsize=7)
    axes.axhline(1, color=CAP, label="cap")
    axes.set_xticks(range(len(caps)), list(caps))
    axes.set_title("total / cap")
    axes.legend(fontsize=7)


def _solver(figure: Any, epochs: Sequence[Epoch]) -> None:
    """Draw the solvers' logs, epoch by epoch: for ADMM its residuals, flips of its mask, and rho.

    A line for each phase that has such a number, over that phase's own epochs.
    """
    names = list(dict.fromkeys(name for epoch in epochs for name in epoch.extra))
    phases = list(dict.fromkeys(epoch.phase for epoch in epochs))
    panels: Any = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        values: list[float] = []
        for number, phase in enumerate(phases):
            points = [
                (e.epoch, e.extra[name]) for e in epochs if e.phase == phase if name in e.extra
            ]
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, marker="o", markersize=3, color=f"C{number}", label=phase)
                values += y
        axes.set_title(name)
        axes.set_xlabel("epoch of the phase")
        axes.legend(fontsize=7)
        if name in {"primal", "dual", "rho"} and all(value > 0 for value in values):
            axes.set_yscale("log")
