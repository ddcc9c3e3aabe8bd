"""A picture of memory over the run of a network: who lives when and where, and the peak."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressor.counting.memory.lifetimes import Lifetime, live_bytes, peak, steps_of
from compressor.counting.memory.plan import planned
from compressor.counting.memory.planning import plan
from compressor.reports.figures import AFTER, BEFORE, CAP, blank, write

LEGIBLE = 0.03
"""Share of the arena that a tensor must take for its name to be written into it."""

LONGEST = 28
"""Letters of a name that are written."""

NAMED: dict[str, Any] = {
    "ha": "center",
    "va": "center",
    "fontsize": 6,
    "clip_on": True,
    "bbox": {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1},
}
"""How names are written: legible on either colour."""


def plot_memory(
    lifetimes: Sequence[Lifetime],
    path: Path,
    offsets: Sequence[int] | None = None,
    cap: int | None = None,
    title: str = "",
) -> None:
    """Write the picture as PNG, in one step.

    Above, the arena: a tensor is a rectangle from its first step to its last, over the bytes that
    it takes; those of the largest live set are coloured and named. Below, the bytes alive at each
    step, and the peak.

    Args:
        lifetimes: Tensors.
        path: Of the file.
        offsets: Where each of them begins in the arena, in bytes; None for a plan of our own.
        cap: Bytes of the arena that may be used, drawn as a line; None for no line.
        title: Above the picture.

    Raises:
        ImportError: Without matplotlib.
        ValueError: If there is no tensor, or another number of offsets.
    """
    if not lifetimes:
        raise ValueError(
            "plot_memory: there is no tensor to draw; give the lifetimes of at least one"
        )
    offsets = plan(lifetimes).offsets if offsets is None else offsets
    if len(offsets) != len(lifetimes):
        raise ValueError(f"plot_memory: {len(offsets)} offsets for {len(lifetimes)} tensors")
    figure = blank(13, 7)
    panels: Any = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _arena(panels[0], lifetimes, offsets)
    _bytes(panels[1], lifetimes)
    for axes in panels if cap is not None else ():
        axes.axhline(cap, color=CAP, label=f"cap: {cap:,} bytes")
        axes.legend(fontsize=7)
    figure.suptitle(title)
    write(figure, path)


def _arena(axes: Any, lifetimes: Sequence[Lifetime], offsets: Sequence[int]) -> None:
    """The plan: steps to the right, bytes upwards."""
    head = planned(lifetimes, offsets).head
    most = peak(lifetimes)
    counted = {id(tensor) for tensor in most.tensors}
    for tensor, at in zip(lifetimes, offsets, strict=True):
        steps = tensor.last - tensor.first + 1
        colour = AFTER if id(tensor) in counted else BEFORE
        axes.broken_barh(
            [(tensor.first, steps)], (at, tensor.room), color=colour, edgecolor="white"
        )
        if id(tensor) in counted and tensor.room >= LEGIBLE * head:
            place = (tensor.first + steps / 2, at + tensor.room / 2)
            axes.text(*place, tensor.name[:LONGEST], **NAMED)
    axes.axvspan(most.step, most.step + 1, color=CAP, alpha=0.15)
    axes.margins(x=0.01)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"arena, {head:,} bytes")


def _bytes(axes: Any, lifetimes: Sequence[Lifetime]) -> None:
    """What is alive at each step."""
    most = peak(lifetimes)
    steps = steps_of(lifetimes)
    axes.stairs(live_bytes(lifetimes), [*steps, steps.stop], fill=True, color=BEFORE)
    axes.plot([most.step + 0.5], [most.bytes], marker="v", color=CAP)
    axes.annotate(
        f"{most.bytes:,} bytes at step {most.step}",
        (most.step + 0.5, most.bytes),
        xytext=(6, 2),
        textcoords="offset points",
        fontsize=8,
    )
    axes.margins(x=0.01, y=0.35)
    axes.set_ylabel("bytes alive")
    axes.set_xlabel("step")
