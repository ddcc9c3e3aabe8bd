"""What is held against the boards: a `.tflite` file, or a stored network written as one."""

from __future__ import annotations

import os
from pathlib import Path

from compressor.export.reading.contents import Contents, unpack
from compressor.export.reading.needs import own_plan
from compressor.export.tflite import tflite_bytes
from compressor.network.file import container
from compressor.reports.result import NETWORK


def given(path: str | os.PathLike[str]) -> Contents:
    """The contents of a `.tflite` file, of a file of `Result.write`, or of a saved result.

    A stored network is written as `.tflite` in memory, with a plan of our own.

    Raises:
        OSError: If it cannot be opened.
        ImportError: If a stored network is given and flatbuffers is missing.
        ValueError: If it is damaged, a network that a `.tflite` file cannot hold, or a saved result
            whose layers are those of the original's class.
    """
    place = Path(path)
    if place.is_dir():
        place = _inside(place)
    data = place.read_bytes()
    if data[8:9] != b"{":  # a container begins with the length of its JSON, eight bytes
        return unpack(data, str(path))
    network = container.unpack(data, str(path))
    plain = unpack(tflite_bytes(network), str(path))
    return unpack(tflite_bytes(network, own_plan(plain)), str(path))


def _inside(folder: Path) -> Path:
    """The stored network in the folder of a saved result."""
    if (folder / NETWORK).is_file():
        return folder / NETWORK
    raise ValueError(
        f"{folder} holds no {NETWORK}: a result without Int8 is saved as layers of its own class, "
        "which no microcontroller runs; fit with Int8(preset=presets.TFLM), or name a file"
    )
