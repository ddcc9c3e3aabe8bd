"""Several reports side by side: a line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compressor.reports.grids import Grid, text
from compressor.reports.report import Report
from compressor.reports.result import Result
from compressor.wording import brief

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Reports by name; print it.

    Attributes:
        reports: What is compared.
    """

    reports: Mapping[str, Report]

    def frame(self) -> pd.DataFrame:
        """One row a report, with its name first: `Report.row`."""
        import pandas as pd  # noqa: PLC0415 - slow to import, and only wanted here

        rows = [{"name": name, **report.row()} for name, report in self.reports.items()]
        return pd.DataFrame(rows).convert_dtypes()

    def grid(self) -> Grid:
        """The table: what each one costs, as it was before and as it is."""
        rows = [{"": name, **_cells(report)} for name, report in self.reports.items()]
        columns = tuple(dict.fromkeys(column for row in rows for column in row))
        cells = tuple(tuple(row.get(column, "-") for column in columns) for row in rows)
        return Grid("Compared", columns, cells)

    def markdown(self) -> str:
        """The table in Markdown."""
        return self.grid().markdown() + "\n"

    def _repr_html_(self) -> str:
        """The table for notebooks."""
        return self.grid().html()

    def __str__(self) -> str:
        """The table as text."""
        return text("", [self.grid()], [])

    def __repr__(self) -> str:
        """The names."""
        return f"<Comparison of {', '.join(self.reports)}>"


def compare(results: Iterable[Result | Report] | Mapping[str, Result | Report]) -> Comparison:
    """Put several results, or reports, side by side.

    Args:
        results: By name, or in a sequence; then each is named after its budget and, if two have
            the same, its number.

    Raises:
        ValueError: If there is none, or something is neither.
    """
    if isinstance(results, (Result, Report)) or not isinstance(results, Iterable):
        raise ValueError(
            f"compare takes several results, and {brief(results)} is none or one: "
            "compare([one, another]), or compare({'a': one, 'b': another})"
        )
    named = (
        {str(name): found for name, found in results.items()}
        if isinstance(results, Mapping)
        else _named(results)
    )
    if not named:
        raise ValueError("compare needs at least one result and was given none")
    return Comparison({name: _report(found) for name, found in named.items()})


def _report(found: object) -> Report:
    if isinstance(found, Report):
        return found
    if isinstance(found, Result):
        return found.report
    raise ValueError(
        f"compare takes results of fit, or reports, and {brief(found)} is neither; "
        "Report.from_json reads the report.json of a folder"
    )


def _named(results: Iterable[Result | Report]) -> dict[str, Result | Report]:
    listed = list(results)
    names = [str(_report(found).budget) for found in listed]
    same = len(set(names)) < len(names)
    numbered = enumerate(zip(names, listed, strict=True), start=1)
    return {f"{number}: {name}" if same else name: found for number, (name, found) in numbered}


def _cells(report: Report) -> dict[str, str]:
    """A line of the table."""
    before, after = report.before, report.after
    pairs = {"params": (before.params, after.params), "macs": (before.macs, after.macs)}
    pairs |= {"file": report.files} if report.files is not None else {}
    cells = {name: f"{now:,} of {was:,}" for name, (was, now) in pairs.items()}
    if after.ram is not None:
        cells["ram"] = f"{after.ram:,}"
    if report.accuracy is not None:
        cells["val"] = "{:.4g} -> {:.4g}".format(*report.accuracy)
    return cells
