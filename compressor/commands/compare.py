"""Several reports that were saved, a line each.

The exit code is 0, or 2 where one cannot be read.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from compressor.commands.reports import report_in
from compressor.reports.comparing import compare

HELP = "put saved reports side by side"


def arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE_OR_DIR",
        help="a report.json, or the folder of a result",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print it in Markdown")
    form.add_argument("--csv", action="store_true", help="print every figure, comma-separated")


def run(options: Namespace) -> int:
    """Print the comparison; returns the exit code."""
    found = compare({str(path): report_in(path) for path in options.files})
    if options.csv:
        sys.stdout.write(found.frame().to_csv(index=False))
    else:
        sys.stdout.write(found.markdown() if options.markdown else f"{found}\n")
    return 0
