"""Reports that were saved, read again."""

from __future__ import annotations

from pathlib import Path

from compressor.reports.found import unfinished
from compressor.reports.report import JSON, Report


def report_in(path: Path) -> Report:
    """The report of a folder, or of a ``report.json``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If there is none.
    """
    file = path / JSON if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        if going := unfinished(path):
            raise ValueError(going)
        raise ValueError(
            f"{path} holds no {JSON}: name a folder of `compressor fit` or Result.save, or the file"
        )
    if file.suffix == ".md" and file.with_name(JSON).is_file():
        folder, plain = file.parent, file.with_name(JSON)
        raise ValueError(f"{file} is the report to read: name its folder, {folder}, or {plain}")
    try:
        return Report.from_json(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
