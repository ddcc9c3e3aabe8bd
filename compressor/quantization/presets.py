"""Which integers stand for an activation: the grids that runtimes have fast kernels for.

Weights are the same everywhere: symmetric, one scale for each output channel, from -127 to 127 (see
`compressor.quantization.fake`). Activations have one scale for a whole tensor, and runtimes differ
in the integers they want: `ORT` and `TENSORRT` below.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Grid:
    """The integers of one tensor; integer q stands for the value (q - zero) * scale.

    Attributes:
        low: Smallest integer.
        high: Largest integer.
        zero: The integer that stands for 0 (the zero point).
    """

    low: int
    high: int
    zero: int

    def __post_init__(self) -> None:
        """Check that 8 bits hold the integers, and that 0 is one of the values.

        Raises:
            ValueError: If not.
        """
        kinds = range(-128, 128), range(256)
        fits = any(self.low in kind and self.high in kind for kind in kinds)
        if not fits or not self.low <= self.zero <= self.high:
            raise ValueError(
                f"{self}: low and high must lie within -128 to 127 or within 0 to 255, and zero "
                "between them"
            )

    @property
    def steps(self) -> tuple[int, int]:
        """Smallest and largest value in units of the scale."""
        return self.low - self.zero, self.high - self.zero

    @property
    def dtype(self) -> torch.dtype:
        """The data type that holds the integers."""
        return torch.int8 if self.low < 0 else torch.uint8


@dataclass(frozen=True)
class Preset:
    """The grids of one kind of runtime.

    Attributes:
        signed: For activations that become negative.
        unsigned: For activations that never do, as after ReLU.
    """

    signed: Grid
    unsigned: Grid


ORT = Preset(signed=Grid(0, 255, 128), unsigned=Grid(0, 255, 0))
"""For ONNX Runtime on CPUs and phones: unsigned integers everywhere.

ONNX Runtime has kernels for one activation type at a time, its signed ones are slow on x86, and it
absorbs a ReLU where the zero point is the smallest integer. Value for value this is the symmetric
int8 of the seeds, moved by 128.
"""

TENSORRT = Preset(signed=Grid(-128, 127, 0), unsigned=Grid(-128, 127, 0))
"""For TensorRT: signed integers with zero point 0 everywhere, which loses one bit after ReLU."""
