"""Commands of the library, ``python -m compressor COMMAND``; each is written in its room."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from compressor.reports import agreeing
from compressor.reports.boards import command as fits


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    Args:
        arguments: Words of the command line; None for those of this process.

    Raises:
        SystemExit: If the words are none that a command takes (code 2), or ask for help (0).
    """
    parser = ArgumentParser("compressor", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in (("fits", fits), ("agree", agreeing)):
        own = commands.add_parser(name, help=command.HELP, description=command.__doc__)
        command.arguments(own)
        own.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
