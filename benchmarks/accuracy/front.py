"""Accuracy on ESC-50 against the bytes of the file, as a picture: docs/front.png.

The networks of `benchmarks.accuracy.together`: what `fit(budget=Budget(bytes=..., macs=30e6))`
returns at four budgets, the dense network, and other ways to 64 KiB. Fold 5, mean and standard
error.

    python -m benchmarks.accuracy.together --run  # once
    python -m benchmarks.accuracy.front
"""

from __future__ import annotations

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from benchmarks.accuracy import dense
from benchmarks.accuracy.together import NET, RECORDS
from benchmarks.common.records import SEEDS, Records, read
from benchmarks.common.sound import ROOT
from compressor.storage import write_bytes

PICTURE = ROOT / "docs" / "front.png"
OURS = {
    "16 KiB, 30M: the default": "16 KiB",
    "32 KiB, 30M: the default": "32 KiB",
    "64 KiB, 30M: width, density and bits (the default)": "64 KiB",
}
WIDTH = ("128k, 30M: width, int8", "128,000 parameters: width, int8")
OTHERS = {
    "64 KiB, 30M: width, int8": "width, int8",
    "64 KiB, 30M: width, half": "width, half precision",
    "64 KiB, 30M: width": "width alone",
}
BLUE, GREY = "#1b6ca8", "#7b8794"


def point(found: Records, way: str, stage: str = "result") -> tuple[float, float, float]:
    """KiB, accuracy in percent and its standard error: of the file, or of the dense network.

    That takes four bytes a parameter and a running statistic.
    """
    size = float(found.values("file", way=way).mean())
    if stage == "dense":
        tensors = dense.NETS[NET].build().state_dict().values()
        size = sum(4 * tensor.numel() for tensor in tensors if tensor.is_floating_point())
    values = 100 * found.values(f"{stage}_test", way=way)
    return size / 1024, float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5


def main() -> None:
    """Draw."""
    found = read(RECORDS)
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ours = [point(found, way) for way in OURS]
    size, accuracy, error = (np.array(column) for column in zip(*ours, strict=True))
    axes.errorbar(
        size, accuracy, error, color=BLUE, marker="o", capsize=3, label="caps on bytes: the default"
    )
    for (way, label), colour in [(one, GREY) for one in OTHERS.items()] + [(WIDTH, BLUE)]:
        x, y, e = point(found, way)
        axes.errorbar(x, y, e, color=colour, marker="s", capsize=3)
        axes.annotate(label, (x, y), (8, -1), textcoords="offset points", va="top")
    x, y, e = point(found, next(iter(OURS)), "dense")
    axes.errorbar(x, y, e, color="black", marker="D", capsize=3, label="dense, float")
    near = int(np.argmax(size > 48))
    arrow = {"arrowstyle": "->", "color": GREY, "shrinkA": 12, "shrinkB": 12}
    axes.annotate("", (size[near], accuracy[near]), (x, y), arrowprops=arrow)
    half = (x * size[near]) ** 0.5
    axes.annotate(f"{x / size[near]:.0f} times smaller", (half, y), ha="center", va="bottom")
    axes.set_xscale("log")
    ticks = [16, 32, 64, 128, 256, 512, 1024]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set(
        xlabel="file, KiB",
        ylabel="accuracy on ESC-50, fold 5, %",
        title=f"Accuracy against file size (mean and standard error, {len(SEEDS)} seeds)",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, metadata={"Software": None})
    write_bytes(PICTURE, buffer.getvalue())
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
