"""A picture of what mechanisms cost: points lost against what is left of the bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

TICKS = (1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125)
MARKS = "os^DvPX*<>"


def draw(points: Sequence[tuple[str, float, float]]) -> bytes:
    """A PNG of mechanisms, shares of the bytes that are left, and points lost."""
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, mechanism in enumerate(dict.fromkeys(name for name, _, _ in points)):
        chosen = [(left, lost) for name, left, lost in points if name == mechanism]
        mark = MARKS[number % len(MARKS)]
        axes.plot(*zip(*chosen, strict=True), mark, label=mechanism, alpha=0.8)
    axes.axhline(0, color="#7b8794", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=2)
    axes.invert_xaxis()
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(TICKS, [f"{100 * tick:g} %" for tick in TICKS])
    axes.set_ylim(-3, 130)
    ticks = (-2, -1, 0, 1, 2, 5, 10, 20, 50, 100)
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.set(xlabel="bytes left of the dense network", ylabel="points lost")
    axes.grid(alpha=0.3)
    if points:
        axes.legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, metadata={"Software": None})
    return buffer.getvalue()
