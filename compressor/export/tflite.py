"""A network of integers as a `.tflite` file for TensorFlow Lite Micro, on microcontrollers.

Needs the `tflite` extra, flatbuffers.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from compressor.export.features import NOTE, Features, asked
from compressor.export.micro.arena import plan
from compressor.export.micro.program import Program
from compressor.export.micro.thrift import frugal
from compressor.export.micro.translation import translated
from compressor.export.micro.writing import written
from compressor.network import Network
from compressor.storage import write_bytes


def write(
    network: Network,
    path: str | os.PathLike[str],
    front_end: nn.Module | Features | None = None,
    waveform: Tensor | None = None,
) -> int:
    """Write a network as a `.tflite` file; returns its length in bytes.

    The file takes one input at a time, on int8, and holds nothing but integers: it computes what
    the integer reference does, bit for bit, in TensorFlow Lite Micro's own kernels. What the
    reference has in floating point (Residual Normalization with ``statistics=False``) is float32
    there, with a warning that says what it costs; a network that begins with it takes float32. The
    file says where its
    tensors go in working memory, as closely packed as was found
    (`compressor.counting.memory.packing`). They lie channels last: an input (1, c, h, w) is given
    as (1, h, w, c), and (1, c, t) as (1, 1, t, c).
    `compressor.export.micro.program.Program.encoded` makes such inputs.

    Args:
        network: The integer reference, after `Int8(preset=presets.TFLM)`.
        path: Replaced in one step if it exists.
        front_end: What makes the features that the file takes: settings, which it then says in its
            metadata, or a module that says them; None for nothing about it.
        waveform: None.

    Raises:
        ImportError: If flatbuffers is missing.
        ValueError: If a front end is something else, or makes other bands than the network takes,
            or the network cannot be written; see `translated`.
    """
    features = asked(front_end, waveform, tuple(network.example[0].shape))
    program, content = made(network, features)
    warn_of_floats(program)
    write_bytes(Path(path), content)
    return len(content)


def made(network: Network, features: Features | None = None) -> tuple[Program, bytes]:
    """The program of a network, and the content of the file that `write` writes of it.

    With `features` it says how its inputs are made.

    Raises:
        ImportError: If flatbuffers is missing.
        ValueError: If the network cannot be written; see `translated`.
    """
    program = frugal(network)
    notes = {} if features is None else {NOTE: features.content()}
    return program, written(program, plan(program), notes=notes)


def tflite_bytes(
    network: Network,
    plan: Mapping[int, int] | None = None,
    *,
    by_kernel: Sequence[str] = (),
    names: bool = False,
) -> bytes:
    """The content of a file with other choices than those of `write`, which `made` makes.

    Args:
        network: As of `write`.
        plan: Where tensors go in working memory; see `compressor.export.micro.writing.written`.
        by_kernel: Layers that pad by their kernels; see `translated`.
        names: Write the names of tensors.
    """
    program = translated(network, by_kernel)
    warn_of_floats(program)
    return written(program, plan, names=names)


def warn_of_floats(program: Program) -> None:
    """Say which layers are computed in float32, and what that costs."""
    layers = program.floating()
    if layers:
        shown = ", ".join(repr(layer) for layer in layers[:5])
        more = f" and {len(layers) - 5} more" if len(layers) > 5 else ""
        form, them = ("is", "it") if len(layers) == 1 else ("are", "them")
        integers = _in_bytes(program).largest_live_set()
        warnings.warn(
            f"export: {shown}{more} {form} computed in float32, as no integers are written of "
            f"{them}: {program.largest_live_set():,} bytes of tensors are alive together where "
            f"{integers:,} would be with a byte each, accelerators leave them to the CPU, and a "
            "last bit may differ. Normalise by batch statistics in their place if that is too much",
            stacklevel=4,
        )


def _in_bytes(program: Program) -> Program:
    """The same with a byte for every float32."""
    tensors = (
        replace(t, dtype=np.dtype(np.int8)) if t.dtype == np.float32 else t for t in program.tensors
    )
    return replace(program, tensors=tuple(tensors))
