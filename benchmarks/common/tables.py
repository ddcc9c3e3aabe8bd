"""Pages of Markdown tables, what stands in their cells, and what they were made with."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from compressor.storage import write_bytes


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, a line a row."""
    first = "|" + "".join(f" {cell} |" if cell else " |" for cell in head)
    lines = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n".join([first, "|---" * len(head) + "|", *lines])


def page(*parts: str) -> str:
    """Title, paragraphs and tables, a blank line between them; empty ones are left out."""
    return "\n\n".join(part for part in parts if part) + "\n"


def publish(text: str, path: Path | None) -> None:
    """Print a page, and put it at `path` where there is one."""
    if path is not None:
        write_bytes(path, text.encode())
    print(text)


def versions(*more: str, threads: str = "one thread", pytorch: str = torch.__version__) -> str:
    """Versions of PyTorch, of what else is named, and of Python; and how many threads ran."""
    parts = (f"torch {pytorch}", *more, f"Python {platform.python_version()}", threads)
    return listed(part for part in parts if part)


def listed(values: Iterable[object]) -> str:
    """Seeds and the like, with commas."""
    return ", ".join(map(str, values))


def with_error(values: Sequence[float] | np.ndarray, form: str = "+.1f") -> str:
    """Mean, and its standard error where there are several values."""
    if len(values) < 2:
        return f"{values[0]:{form}}" if len(values) else "-"
    return f"{np.mean(values):{form}} ({np.std(values, ddof=1) / math.sqrt(len(values)):.1f})"


def with_deviation(values: Sequence[float] | np.ndarray, form: str = ".1f") -> str:
    """Mean, and the standard deviation where there are several values."""
    if len(values) < 2:
        return f"{values[0]:{form}}" if len(values) else "-"
    return f"{np.mean(values):{form}} ± {np.std(values, ddof=1):{form.lstrip('+')}}"


def extremes(values: Sequence[float]) -> str:
    """Least, median and greatest."""
    return " / ".join(f"{f(values):.2f}" for f in (min, median, max))


def quartiles(values: Sequence[float]) -> str:
    """Median, and the first and third quartile."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} - {high:.2f})"
