"""Do interpreters say what a network says, byte for byte?

The exit code is 0 where TensorFlow Lite Micro's interpreter equals the reference on all outputs; 1
where it does not, or is not installed; 2 where the file or the inputs cannot be used.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch
from torch import Tensor

from compressor.commands.arrays import array_in
from compressor.export.interpreters import MICRO
from compressor.export.reading.contents import unpack
from compressor.network.file import container
from compressor.reports.agreeing import compare, compare_file, lines
from compressor.reports.boards.files import is_network, place_of

HELP = "does a .tflite file say the same in TensorFlow Lite Micro, in LiteRT, and as trained?"


def arguments(parser: ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a stored network, or a folder with one: held against itself; a .tflite file, "
        "anybody's: LiteRT is held against TensorFlow Lite Micro",
    )
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="FILE.npy",
        help="inputs, the first dimension counting them: numbers as the network takes them, or of "
        "the type and shape that the .tflite file takes; without it, some are drawn",
    )


def run(options: Namespace) -> int:
    """Print how interpreters agree; returns the exit code."""
    place = place_of(options.file)
    data = place.read_bytes()
    inputs = None if options.inputs is None else array_in(options.inputs)
    if is_network(data):
        network = container.unpack(data, str(place))
        given: Tensor | None = None if inputs is None else torch.from_numpy(inputs)
        compared = compare(network, given)
    else:
        compared = compare_file(unpack(data, str(place)), data, inputs)
    sys.stdout.write("\n".join([str(place), *lines(compared)]) + "\n")
    return 0 if compared.exact or compared.expected == MICRO.name else 1
