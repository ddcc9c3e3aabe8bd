"""What was done to a network, and what is known of it: a report that was saved.

docs/report.md says how to read it. The exit code is 0, or 2 where there is no report.
"""

from __future__ import annotations

import html
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from compressor.commands.reports import report_in
from compressor.reports.render import hypertext
from compressor.reports.report import Report
from compressor.storage import write_bytes

HELP = "print a saved report"


def arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "file", type=Path, metavar="FILE_OR_DIR", help="a report.json, or the folder of a result"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print it in Markdown")
    form.add_argument("--html", type=Path, metavar="OUT", help="write it as a page for browsers")


def run(options: Namespace) -> int:
    """Print the report, or write it; returns the exit code."""
    report = report_in(options.file)
    if options.html is not None:
        write_bytes(options.html, _page(report).encode())
        sys.stdout.write(f"{options.html}\n")
    else:
        sys.stdout.write(report.markdown() if options.markdown else f"{report}\n")
    return 0


def _page(report: Report) -> str:
    """A whole page, which needs nothing but itself."""
    head = f'<meta charset="utf-8"><title>{html.escape(report.model)}</title><style>{STYLE}</style>'
    return f"<!doctype html>\n<html><head>{head}</head>\n<body>{hypertext(report)}</body></html>\n"


STYLE = (
    "body{font:15px sans-serif;margin:2em auto;max-width:60em}table{border-collapse:collapse}"
    "td,th{padding:.2em .7em;border-bottom:1px solid #ccc;text-align:right}"
    "td:first-child,th:first-child{text-align:left}"
)
