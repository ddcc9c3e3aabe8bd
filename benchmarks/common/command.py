"""Command lines of the benchmarks: what they have in common, and runs that leave records."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from benchmarks.common.records import SEEDS, Records, Run, make, read
from benchmarks.common.tables import publish


def parser(about: str | None, **choices: Iterable[str]) -> ArgumentParser:
    """Options of a script, about which its docstring tells; `choices` take some of these words."""
    made = ArgumentParser(description=str(about).splitlines()[0])
    for name, words in choices.items():
        made.add_argument(f"--{name}", nargs="+", default=list(words), choices=list(words))
    return made


def recording(about: str | None, **choices: Iterable[str]) -> ArgumentParser:
    """Options of a script whose runs leave records."""
    made = parser(about, **choices)
    made.add_argument("--run", action="store_true", help="make the runs that are missing")
    made.add_argument("--seed", nargs="+", type=int, default=list(SEEDS))
    return made


def device(made: ArgumentParser) -> ArgumentParser:
    """The same with a device to run on."""
    made.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    return made


def started(made: ArgumentParser, arguments: Sequence[str] | None = None) -> Namespace:
    """Parsed options of a process of one thread."""
    options = made.parse_args(arguments)
    one_thread()
    return options


def one_thread() -> None:
    """Keep torch, and numpy's own library, which does not ask torch, to one thread."""
    torch.set_num_threads(1)
    threadpool_limits(1)


def run_or_report(
    script: str,
    options: Namespace,
    runs: Iterable[Run],
    report: Callable[[Records], str],
    hidden: Collection[str] = (),
    *,
    seeds: Collection[int] = SEEDS,
) -> None:
    """Make the missing runs of a script if asked to, else write its page.

    Records and page lie beside the script, as .jsonl and .md; `hidden` entries are not printed. The
    page has the records of `seeds`.
    """
    records = Path(script).with_suffix(".jsonl")
    if options.run:
        make(records, runs, hidden)
    else:
        publish(report(read(records, seeds)), Path(script).with_suffix(".md"))
