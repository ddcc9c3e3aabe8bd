"""The `.tflite` file that a cap on bytes is on: how long it will be is known before training."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.allocation.request import Form
from compressor.export.micro.length import Length, longest, parts
from compressor.export.tflite import made
from compressor.network import Network
from compressor.run.file_size import Artefact, Stored
from compressor.run.working_memory import refused, rounded, to_write


@dataclass(frozen=True)
class Tflite(Artefact):
    """The `.tflite` for TensorFlow Lite Micro, for ``Budget(bytes="32KiB", file=Tflite())``.

    Every byte of the file that `Result.export` writes after ``Int8(preset=presets.TFLM)`` counts:
    weights, a byte each; biases, scales and zero points, 20 bytes for each channel that a layer
    makes; operators, tensors, shapes, and the plan of the memory. Zeros take a byte like any
    other weight, and so do weights of fewer than 8 bits: what makes those is for the file of
    `Result.write`. Where nothing is rounded (a `Session`, `fit` without data), the cap is on the
    file that there will be after ``Int8(preset=presets.TFLM)``.

    Needs the extra ``tflite``.
    """

    name = ".tflite"
    holds = "a byte for every weight, whatever its value"
    rounding = "Int8(preset=presets.TFLM)"
    gathers = False

    def form(self, stored: Stored) -> Form:
        """By the program of the network as it is: with the operators and kernels that it has."""
        program, network = to_write(stored, "bytes")
        try:
            return Length(program, network, stored.graph)
        except ValueError as error:
            raise refused(stored, error, "bytes") from error

    def bound(self, stored: Stored) -> int:
        """With no two equal constants but those that no training changes."""
        return longest(*to_write(stored, "bytes"))

    def content(self, network: Network) -> bytes:
        """Of integers what `export` writes; of any other network what it may become."""
        return made(rounded(network))[1]

    def told(self, stored: Stored) -> str:
        """Weights, scales, and everything else."""
        return str(parts(*to_write(stored, "bytes")))
