"""Figures of matplotlib, which is optional, without a window and written in one step."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

from compressor.storage import write_bytes

BEFORE, AFTER, CAP = "#c8ccd4", "#2f6db5", "#c03028"
"""Colours: what was there or stands behind, what is meant, and a limit."""


def drawable() -> bool:
    """True if matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def blank(width: float, height: float) -> Any:
    """An empty figure of this size in inches; an ImportError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - optional
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ImportError("plotting needs matplotlib: pip install 'compressor-nn[plot]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def counted() -> Any:
    """Labels of an axis of counts: 20k, 1.5M."""
    from matplotlib.ticker import EngFormatter  # noqa: PLC0415 - optional

    return EngFormatter(sep="")


def write(figure: Any, path: Path) -> None:
    """Write a figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    write_bytes(path, content.getvalue())
