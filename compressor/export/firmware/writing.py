"""A network of integers as a folder of C++."""

from __future__ import annotations

import os

from compressor.export import tflite
from compressor.export.firmware.asked import Inputs, vectors
from compressor.export.firmware.folder import YOURS, Firmware, files
from compressor.export.firmware.rooms import room
from compressor.export.reading.contents import unpack
from compressor.network import Network
from compressor.storage import path_of, write_folder


def write(network: Network, path: str | os.PathLike[str], inputs: Inputs | None = None) -> None:
    """Write the folder, or renew it (`compressor.storage.write_folder`).

    Args:
        network: The integer reference, after `Int8(preset=presets.TFLM)`.
        path: Of the folder. In one that was written before, `main.cc` and files of others, such as
            what was compiled there, are left alone, and all others are replaced.
        inputs: For test vectors; see `compressor.export.firmware.asked.vectors`.

    Raises:
        ImportError: If flatbuffers is missing.
        ValueError: If the network cannot be written (`compressor.export.tflite.write`), inputs are
            not its or more than 1,000, or the folder holds files and was not written so.
        OSError: If it cannot be written.
    """
    place = path_of(path)
    write_folder(place, files(made(network, inputs)), kept=YOURS)


def made(network: Network, inputs: Inputs | None = None) -> Firmware:
    """What the folder is about; arguments and errors as of `write`."""
    program, content = tflite.made(network)
    tflite.warn_of_floats(program)
    contents = unpack(content)
    return Firmware(
        content,
        program,
        tuple(dict.fromkeys(operator.name for operator in contents.operators)),
        room(program, contents),
        vectors(network, program, inputs),
    )
