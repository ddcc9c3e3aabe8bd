"""Commands of the library, ``compressor COMMAND``; each is written in `compressor.commands`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from compressor.commands import agree, compare, fit, fits, inspect, measure, report
from compressor.commands.parser import Parser
from compressor.errors import BudgetError, TrainingError, VerificationError
from compressor.inputs.shortage import out_of_memory
from compressor.wording import line

COMMANDS = {
    "measure": measure,
    "inspect": inspect,
    "fit": fit,
    "report": report,
    "compare": compare,
    "fits": fits,
    "agree": agree,
}
"""Modules of commands, by name."""

STOPPED, UNREAD = 130, 141
"""Exit codes of a command that the user, or the reader of what it prints, has ended."""

TOO_LARGE = "there is too little memory for it: give a smaller --input, or data in smaller batches"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    0 for yes or done, 1 for no (it does not fit, the budget cannot be met), 2 for what cannot be
    read, made or run: one sentence on standard error.

    Args:
        arguments: Words of the command line; None for those of this process.

    Raises:
        SystemExit: If the words are none that a command takes (code 2), or ask for help (0).
    """
    parser = Parser("compressor", description="Bring networks under hard budgets.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        own = commands.add_parser(name, help=command.HELP, description=command.__doc__)
        command.arguments(own)
        own.set_defaults(run=command.run, prog=own.prog)
    options = parser.parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _told(options.prog, "stopped", STOPPED)
    except BrokenPipeError:
        unheard()
        return UNREAD
    except BudgetError as error:
        return _told(options.prog, str(error), 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _told(options.prog, f"{where}{error.strerror or error}", 2)
    except (ValueError, ImportError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _said(error):
            raise
        said = f"{TOO_LARGE} ({line(error)})" if out_of_memory(error) else str(error)
        return _told(options.prog, said, 2)
    return code


def _said(error: RuntimeError) -> bool:
    """True where an error is the library's own, or for want of memory: no fault of a program."""
    return isinstance(error, TrainingError | VerificationError) or out_of_memory(error)


def unheard() -> None:
    """Send what is still to be printed nowhere; at its end Python would complain of the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(command: str, message: str, code: int) -> int:
    """Say in one line why a command ends; returns its exit code."""
    sys.stderr.write(f"{command}: {' '.join(message.split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
