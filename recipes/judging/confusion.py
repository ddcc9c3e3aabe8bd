"""A picture of a confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from compressor.storage import write_bytes

MOST_NUMBERED = 20
"""Classes up to which every cell shows its number; beyond, they would be too small to read."""


def plot_confusion(path: Path, confusion: np.ndarray, classes: Sequence[str], title: str) -> None:
    """Write a PNG, in one step: shade is the share of the true class's clips.

    `confusion` has clips (classes, classes), true classes in rows.
    """
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = 3 + 0.4 * len(classes)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a screen and without pyplot's global state
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=90)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    axes.set_title(title, fontsize=9)
    if len(classes) <= MOST_NUMBERED:
        for row, column in np.argwhere(confusion):
            shade = "white" if shares[row, column] > 0.5 else "black"
            clips = confusion[row, column]
            axes.text(column, row, clips, ha="center", va="center", color=shade, fontsize=7)
    figure.colorbar(image, ax=axes, label="share of the true class")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_bytes(path, content.getvalue())
