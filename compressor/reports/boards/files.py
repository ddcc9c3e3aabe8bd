"""What is held against the boards: a `.tflite` file, or a stored network written as one."""

from __future__ import annotations

import os
from pathlib import Path

from compressor.export.reading.contents import Contents, unpack
from compressor.export.tflite import made
from compressor.network.file import container
from compressor.reports.found import unfinished
from compressor.reports.result import NETWORK

FIRMWARE = "model.tflite"
"""The network in a folder for the firmware."""


def given(path: str | os.PathLike[str]) -> Contents:
    """The contents of a `.tflite` file, or of the one that `export` makes of a stored network.

    Args:
        path: Of a `.tflite` file, of a file of `Result.write`, or of the folder of a saved result
            or of firmware.

    Raises:
        OSError: If it cannot be opened.
        ImportError: If a stored network is given and flatbuffers is missing.
        ValueError: If it is empty, damaged, a network that a `.tflite` file cannot hold, or a
            folder without a network.
    """
    place = place_of(path)
    data = place.read_bytes()
    if not is_network(data):
        return unpack(data, str(place))
    _, content = made(container.unpack(data, str(place)))
    return unpack(content, str(place))


def place_of(path: str | os.PathLike[str]) -> Path:
    """The file that is meant: of a folder the one in it; errors as of `given`."""
    if not os.fspath(path):
        raise ValueError("no file is named: name a .tflite file, a stored network, or a folder")
    place = Path(path)
    return _inside(place) if place.is_dir() else place


def is_network(data: bytes) -> bool:
    """True for a stored network, which begins with the length of its JSON, eight bytes."""
    return data[8:9] == b"{"


def _inside(folder: Path) -> Path:
    """The file in the folder of firmware, or the stored network in that of a saved result."""
    for name in (FIRMWARE, NETWORK):
        if (folder / name).is_file():
            return folder / name
    if going := unfinished(folder):
        raise ValueError(going)
    raise ValueError(
        f"{folder} holds no {FIRMWARE} and no {NETWORK}: a result without Int8 is saved as layers "
        "of its own class, which no microcontroller runs; fit with Int8(preset=presets.TFLM), or "
        "name a file"
    )
