"""Integers that stand for an activation: the grids that runtimes have fast kernels for.

Weights are symmetric everywhere, one scale for each output channel (see
`compressor.quantization.fake`). Activations have one scale for a whole tensor, and runtimes differ
in the integers they want: `ORT` and `TENSORRT` below.

x86 CPUs without VNNI multiply unsigned activations by signed weights two at a time and add the two
products in 16 bits: 2 * 255 * 127 is 64,770, more than 32,767, and the sum is cut off there without
a word. A file is exact on every CPU where its weights are unsigned, for which kernels with wider
sums exist, or where they are small: 2 * 255 * 63 is 32,130.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compressor.inputs.settings import check_whole
from compressor.network.grid import Grid


@dataclass(frozen=True)
class Preset:
    """The grids of one kind of runtime.

    Attributes:
        signed: For activations that become negative.
        unsigned: For activations that never do, as after ReLU.
        weight_bits: Bits of a weight, 2 to 8: its integers go from -(2^(bits - 1) - 1) to that.
        fixed_point: True for runtimes that scale by fixed-point factors and round twice
            (`compressor.network.fixed`), False for those with one factor in single precision.
        statistics: True where normalisation by the mean and variance of one example (Residual
            Normalization) is in whole numbers too (`compressor.network.fixed_norm`), False where it
            is left in floating point.
    """

    signed: Grid
    unsigned: Grid
    weight_bits: int = 8
    fixed_point: bool = False
    statistics: bool = False

    def __post_init__(self) -> None:
        """Raise a ValueError for bits out of range, and statistics of another arithmetic."""
        check_whole("Preset", 2, weight_bits=self.weight_bits)
        if self.weight_bits > 8:
            raise ValueError(f"Preset(weight_bits={self.weight_bits}): at most 8 bits are stored")
        if self.statistics and not self.fixed_point:
            raise ValueError("Preset(statistics=True): whole numbers for them are of fixed_point")


ORT = Preset(signed=Grid(0, 255, 128), unsigned=Grid(0, 255, 0))
"""For ONNX Runtime on CPUs and phones: unsigned integers everywhere.

ONNX Runtime has kernels for one activation type at a time, its signed ones are slow on x86, and it
absorbs a ReLU where the zero point is the smallest integer. Value for value this is the symmetric
int8 of the seeds, moved by 128. An ONNX file holds the weights moved by 128 as well (uint8, zero
point 128), so that no sum is cut off on any CPU, at 8 bits.
"""

VNNI = replace(ORT, weight_bits=7)
"""As `ORT`, with weights of 7 bits, which an ONNX file holds signed.

As exact on every CPU, and up to twice as fast where it was measured, on AVX-512 VNNI with ONNX
Runtime 1.31, which has no fast kernel of two unsigned factors there
(`benchmarks/int8/quantization.md`).
"""

TENSORRT = Preset(signed=Grid(-128, 127, 0), unsigned=Grid(-128, 127, 0), weight_bits=7)
"""For TensorRT: signed integers with zero point 0 everywhere, which loses one bit after ReLU.

TensorRT takes no unsigned weights, so that the file can be exact on a CPU without VNNI only with
weights of 7 bits, -63 to 63. Where it will run on GPUs alone, `dataclasses.replace(TENSORRT,
weight_bits=8)` takes the eighth bit; `Result.export` then warns of CPUs.
"""

TFLM = Preset(
    signed=Grid(-128, 127, 0), unsigned=Grid(-128, 127, -128), fixed_point=True, statistics=True
)
"""For TensorFlow Lite Micro on microcontrollers: signed integers, the smallest for 0 after ReLU.

Value for value the grids of `ORT`, moved by 128. The reference rounds twice, as that runtime does,
SiLU is a sigmoid on its fixed grid and a product, and a mean is a depthwise convolution: a
`.tflite` file computes what the reference does. So it does for Residual Normalization, which
``dataclasses.replace(TFLM, statistics=False)`` leaves in float32: four bytes a value in memory, and
a last bit that may differ (`benchmarks/microcontroller/norms.md`).
"""
