"""`python -m compressor fits FILE_OR_RESULT`: whether it fits a board, and by how much.

Its exit code is 0 where the file fits the board that was named, or at least one where none was; 1
where it fits none of them; 2 where the file cannot be read or counted, or there is no such board.
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
    parser.add_argument("file", help="a .tflite file, anybody's; or a stored network")
    parser.add_argument(
        "--board",
        action="append",
        metavar="NAME",
        help="a board of the table, by name; several times for several; all where none is named",
    )
    parser.epilog = "boards: " + ", ".join(board.name for board in boards())


def run(options: Namespace) -> int:
    """Print what the file needs and how it fits; returns the exit code."""
    known = boards()
    try:
        chosen = [board_of(name, known) for name in options.board or ()] or known
        needed = need(given(options.file))
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"fits: {error}\n")
        return 2
    found = fits(needed, chosen)
    named = [line for fit in found if options.board for line in ("", *about(fit.board))]
    sys.stdout.write("\n".join([*lines(needed, found), *named]) + "\n")
    return 0 if any(fit.fits for fit in found) else 1
