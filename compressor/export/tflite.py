"""A network of integers as a `.tflite` file for TensorFlow Lite Micro, on microcontrollers.

Needs the `tflite` extra, flatbuffers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from compressor.export.micro.arena import plan
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.network import Network
from compressor.storage import write_bytes


def write(
    network: Network,
    path: str | os.PathLike[str],
    front_end: nn.Module | None = None,
    waveform: Tensor | None = None,
) -> int:
    """Write a network as a `.tflite` file; returns its length in bytes.

    The file takes one input at a time, on int8, and holds nothing but integers: it computes what
    the integer reference does, bit for bit, in TensorFlow Lite Micro's own kernels. It says where
    its tensors go in working memory, as closely packed as was found
    (`compressor.counting.memory.planning`). Tensors lie channels last: an input (1, c, h, w) is
    given as (1, h, w, c), and (1, c, t) as (1, 1, t, c).
    `compressor.export.micro.program.Program.encoded` makes such inputs.

    Args:
        network: The integer reference, after `Int8(preset=presets.TFLM)`.
        path: Replaced in one step if it exists.
        front_end: None; the file takes features.
        waveform: None.

    Raises:
        ImportError: If flatbuffers is missing.
        ValueError: If there is a front end, or the network cannot be written; see `translated`.
    """
    if front_end is not None or waveform is not None:
        raise ValueError(
            "export: a .tflite file takes features, not a waveform: leave front_end and waveform "
            "out, and compute the features on the device"
        )
    program = translated(network)
    content = written(program, plan(program))
    write_bytes(Path(path), content)
    return len(content)


def tflite_bytes(
    network: Network,
    plan: Mapping[int, int] | None = None,
    *,
    by_kernel: Sequence[str] = (),
    names: bool = False,
) -> bytes:
    """The content of the file that `write` writes.

    Args:
        network: Likewise.
        plan: Where tensors go in working memory; see `compressor.export.micro.writing.written`.
        by_kernel: Layers that pad by their kernels; see `translated`.
        names: Write the names of tensors.
    """
    return written(translated(network, by_kernel), plan, names=names)
