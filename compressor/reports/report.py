"""The report of a compression: its facts, for people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor import storage
from compressor.budget import RESOURCES
from compressor.reports import picture, render
from compressor.reports.facts import Epoch, Facts, Shrink
from compressor.reports.figures import drawable
from compressor.reports.reading import fields_of
from compressor.reports.render import Scores

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Epoch", "Report", "Shrink"]

JSON, MARKDOWN, PICTURE = "report.json", "report.md", "layers.png"
"""Files of a report, the second of which shows the third."""


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

    def row(self) -> dict[str, Any]:
        """Totals as one flat row: caps, costs before and after, accuracy, and how near the best.

        The keys are the same for every report: None stands for a cap that there is not.
        `gap` is the largest of all removals; None where one has no bound.
        """
        row: dict[str, Any] = {"model": self.model, "budget": str(self.budget)}
        row |= {f"cap_{name}": self.budget.caps.get(name) for name in RESOURCES}
        for name, cost in (("before", self.before), ("after", self.after)):
            row |= {f"{key}_{name}": value for key, value in asdict(cost).items()}
        before, after = self.files or (None, None)
        row |= {"file_before": before, "file_after": after}
        before, after = self.accuracy or (None, None)
        row |= {"val_before": before, "val_after": after}
        gaps = [shrink.gap for shrink in self.shrinks]
        row["gap"] = None if None in gaps else max((gap for gap in gaps if gap), default=0.0)
        return row | {"seconds": sum(epoch.seconds for epoch in self.log)}

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        """The report that `json` wrote.

        Raises:
            ValueError: If it is not the JSON of a report.
        """
        return cls(**fields_of(text))

    def markdown(self, picture: str = "", *, level: int = 1, scores: Scores = render.NONE) -> str:
        """The report as text in Markdown.

        Args:
            picture: Address of a picture of `plot` that it shows; none if empty.
            level: That of its title, 1 for the title of a page.
            scores: What was measured elsewhere, by name the text before and after: ``{"accuracy on
                the test list": ("71.2 %", "70.8 %")}`` stands above the costs.
        """
        return render.markdown(self, picture, level, scores)

    def _repr_html_(self) -> str:
        """The report for notebooks."""
        return render.hypertext(self)

    def save(self, directory: str | Path, *, scores: Scores = render.NONE) -> None:
        """Write ``report.json``, ``report.md`` and, with matplotlib, its picture ``layers.png``.

        Args:
            directory: Created when missing; each file is put in place in one step.
            scores: As of `markdown`.
        """
        folder = storage.path_of(directory)
        storage.write_bytes(folder / JSON, self.json().encode())
        shown = PICTURE if drawable() else ""
        if shown:
            self.plot(folder / shown)
        storage.write_bytes(folder / MARKDOWN, self.markdown(shown, scores=scores).encode())

    def plot(self, path: str | Path) -> None:
        """Write a picture of what every layer kept; needs matplotlib (extra ``plot``)."""
        picture.plot(self, Path(path))

    def __str__(self) -> str:
        """The report as text for a terminal; plain ASCII when it goes to a file or a pipe."""
        return render.text(self)
