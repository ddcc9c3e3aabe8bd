"""About a hundred small networks to half their size: ours, Torch-Pruning, torch-kirigami.

    python -m benchmarks.breadth --run                # the trials that are missing
    python -m benchmarks.breadth                      # tables from the records
    python -m benchmarks.breadth --run --again --tools ours --only "VGG" "LeNet"

A record is kept after every trial, in breadth.jsonl: a call that was killed goes on from there when
it is made again, without `--again`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.breadth.kinds import NETWORKS
from benchmarks.breadth.page import kinds, tables
from benchmarks.breadth.trial import TOOLS, attempt
from benchmarks.common.command import parser, started
from benchmarks.common.records import Run, make, read
from benchmarks.common.tables import publish
from compressor.storage import write_bytes

RECORDS = Path(__file__).with_name("breadth.jsonl")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "networks.md"


def runs(tools: Sequence[str], names: Sequence[str]) -> list[Run]:
    """Trials of some networks by some tools."""
    return [
        Run({"network": name, "tool": tool, "seed": 0}, partial(attempt, name, tool))
        for tool in tools
        for name in names
    ]


def forget(path: Path, asked: Sequence[Run]) -> None:
    """Take the records of some trials out of a file."""
    left = [r for r in read(path).found if not any(run.key.items() <= r.items() for run in asked)]
    write_bytes(path, "".join(f"{json.dumps(record)}\n" for record in left).encode())


def main() -> None:
    """Make trials, or write the pages."""
    made = parser(__doc__, tools=TOOLS, only=NETWORKS)
    made.add_argument("--run", action="store_true", help="make the trials that are missing")
    made.add_argument("--again", action="store_true", help="first forget those that are there")
    options = started(made)
    asked = runs(options.tools, options.only)
    if options.run:
        if options.again:
            forget(RECORDS, asked)
        make(RECORDS, asked)
    else:
        records = read(RECORDS)
        publish(tables(records), RECORDS.with_suffix(".md"))
        write_bytes(PAGE, kinds(records).encode())


if __name__ == "__main__":
    main()
