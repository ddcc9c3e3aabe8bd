"""The report of a compression: its facts, for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.reports import picture, render
from compressor.reports.facts import Epoch, Facts, Shrink

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Epoch", "Report", "Shrink"]


class Report(Facts):
    """Everything worth knowing about a compression; print it. Attributes as in `Facts`."""

    def frame(self) -> pd.DataFrame:
        """One row a module: kind, and channels, params and macs before and after."""
        import pandas as pd  # noqa: PLC0415 - slow to import, and only wanted here

        rows: list[dict[str, Any]] = []
        for layer in self.layers:
            channels = layer.channels or (None, None)
            pairs = {"channels": channels, "params": layer.params, "macs": layer.macs}
            row: dict[str, Any] = {"module": layer.module, "kind": layer.kind}
            for name, (before, after) in pairs.items():
                row |= {f"{name}_before": before, f"{name}_after": after}
            rows.append(row)
        return pd.DataFrame(rows).convert_dtypes()

    def markdown(self) -> str:
        """The report as text in Markdown."""
        return render.markdown(self)

    def plot(self, path: str | Path) -> None:
        """Write a picture of what every layer kept; needs matplotlib (extra ``plot``)."""
        picture.plot(self, Path(path))

    def __str__(self) -> str:
        """The report as text for a terminal; plain ASCII when it goes to a file or a pipe."""
        return render.text(self)
