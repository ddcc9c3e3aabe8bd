"""Bring a network under a budget.

Without data its channels are removed at once; with inputs alone (--inputs) it is repaired, too;
with a loader of inputs and labels (--data) it is fine-tuned. The folder then holds
network.safetensors, which `compressor.load` reads, report.md and report.json, and a checkpoint: a
command that was killed goes on when it is given again. On the CPU. The exit code is 0; 1 where no
network of these layers meets the budget; 2 where something cannot be made, read or run.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from compressor.budget import Budget
from compressor.commands.arrays import tensor_in
from compressor.commands.budgets import caps_of
from compressor.commands.exports import check_exports, file_name
from compressor.commands.models import add_model, example_of, model_of
from compressor.commands.words import called, named, read_as
from compressor.errors import ResumeError, TraceError
from compressor.fitting import fit
from compressor.inputs.arguments import check_seed
from compressor.reports.found import CHECKPOINT
from compressor.reports.result import FORMATS, NETWORK, Result

EPOCHS = (
    "of the fine-tune on --data; default 30. Under a cap on bytes or ram 8-bit training follows, "
    "of 5 epochs more"
)

HELP = "bring a network under hard caps, and write it with its report"


def arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    add_model(parser, seeded=True)
    parser.add_argument(
        "--budget",
        required=True,
        action="append",
        metavar="CAPS",
        help="params=128e3,macs=30e6: any of params, nonzero, macs, bytes, ram; "
        "bytes=32KiB,file=tflite caps the .tflite; given several times, all of them hold",
    )
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--data",
        metavar="NAME",
        help="package.module:function, which returns a loader of (inputs, labels)",
    )
    data.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE",
        help="inputs without labels: an array in a .npy file, or in a .safetensors file",
    )
    parser.add_argument("--val", metavar="NAME", help="likewise, on which accuracy is told")
    parser.add_argument(
        "--loss",
        metavar="NAME",
        help="package.module:function of the model and a batch of --data, which returns the loss; "
        "default cross entropy",
    )
    parser.add_argument("--epochs", type=int, help=EPOCHS)
    parser.add_argument("--lr", type=float, help="learning rate that the network was trained with")
    parser.add_argument(
        "--keep", action="append", default=[], metavar="LAYER", help="a layer that stays whole"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is random; default 0")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("compressed"),
        metavar="DIR",
        help="folder of what is written; default %(default)s",
    )
    parser.add_argument(
        "--export",
        action="append",
        default=[],
        type=read_as(file_name),
        metavar="FILE",
        help=f"write it for a runtime, too, in the folder: a name on {', '.join(FORMATS)}",
    )


def run(options: Namespace) -> int:
    """Compress, print the report and write everything; returns the exit code."""
    budget = caps_of(options.budget)
    check_seed(options.seed)
    given = options.data is not None or options.inputs is not None
    model = model_of(options)
    check_exports(options.export, budget, data=given, model=model)
    new = not options.out.exists()
    try:
        result = _fitted(options, budget, model)
    except ResumeError as error:
        raise ResumeError(
            f"{error} (--out). The schedule is what --budget and --epochs make: leave them as they "
            "were then"
        ) from error
    except BaseException:
        _tidied(options.out, new=new)
        raise
    sys.stdout.write(f"{result.report}\n")
    _write(result, options.out)
    for name in options.export:
        result.export(options.out / name)
    sys.stdout.write(f"Written to {options.out}.\n")
    return 0


def _fitted(options: Namespace, budget: Budget, model: nn.Module) -> Result:
    data = _data(options, model)
    example = example_of(options, model) if data is None or options.input else None
    return fit(
        model, data, budget=budget, epochs=options.epochs, lr=options.lr,
        val=None if options.val is None else _loader(options.val), example=example,
        loss=None if options.loss is None else named(options.loss), keep=options.keep,
        checkpoint=options.out / CHECKPOINT, seed=options.seed,
    )  # fmt: skip


def _tidied(folder: Path, *, new: bool) -> None:
    """Leave no empty folder of a run that came to nothing."""
    for place in (folder / CHECKPOINT, *([folder] if new else [])):
        with suppress(OSError):  # of one that is not empty
            place.rmdir()


def _data(options: Namespace, model: nn.Module) -> Iterable[Any] | Tensor | None:
    if options.inputs is not None:
        return tensor_in(options.inputs, model)
    return None if options.data is None else _loader(options.data)


def _loader(word: str) -> Iterable[Any]:
    found = named(word)
    return called(word, found, {}) if callable(found) else found


def _write(result: Result, folder: Path) -> None:
    """The network as one file; of one that has none, its weights."""
    try:
        result.write(folder / NETWORK)
    except (TraceError, ValueError) as error:
        result.save(folder)
        sys.stdout.write(f"Its weights alone are stored, for --weights {folder}: {error}\n")
        return
    result.report.save(folder)
