"""Does a file fit a board, and by how much?

The exit code is 0 where the file fits all boards that were named, or at least one of the table
where none was; 1 where it does not; 2 where the file cannot be read or counted, or there is no such
board.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from compressor.reports.boards.files import given
from compressor.reports.boards.fit import fits, need
from compressor.reports.boards.table import board_of, boards
from compressor.reports.boards.wording import about, lines

HELP = (
    "does a .tflite file or a saved result fit a microcontroller's flash and RAM, and by how much?"
)


def arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a .tflite file, anybody's; a stored network; a folder with either",
    )
    parser.add_argument(
        "--board",
        action="append",
        metavar="NAME",
        help="a board of the table, by name; given several times, the file must fit each of them; "
        "without it, the file is held against the whole table",
    )
    parser.epilog = "boards: " + ", ".join(board.name for board in boards())


def run(options: Namespace) -> int:
    """Print what the file needs and how it fits; returns the exit code."""
    known = boards()
    named = dict.fromkeys(board_of(name, known) for name in options.board or ())
    needed = need(given(options.file))
    found = fits(needed, [*named] or known)
    told = [line for board in named for line in ("", *about(board))]
    sys.stdout.write("\n".join([*lines(needed, found), *told]) + "\n")
    enough = all if named else any
    return 0 if enough(fit.fits for fit in found) else 1
