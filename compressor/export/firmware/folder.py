"""The files of the folder, each as text; what does not depend on a network lies in `cpp/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from compressor.export.firmware.asked import Vectors
from compressor.export.firmware.rooms import Room
from compressor.export.firmware.text import array, braces, camel, header, single, within
from compressor.export.micro.layout import channels_last, plain
from compressor.export.micro.program import Port, Program

FIXED = ("model_grid.h", "model_test.h", "model_test.cc", "main.cc")
"""Files that are the same for every network."""

YOURS = ("main.cc",)
"""Files that are written once and then belong to who works on them."""


@dataclass(frozen=True, eq=False)
class Firmware:
    """What the folder is about.

    Attributes:
        content: The `.tflite` file.
        program: What it computes.
        operators: Its kinds of operators, by name, each once.
        room: Its arena.
        vectors: What it is tested with.
    """

    content: bytes
    program: Program
    operators: tuple[str, ...]
    room: Room
    vectors: Vectors


def files(made: Firmware) -> dict[str, bytes]:
    """Content by name of the file."""
    written = {
        "model_data.h": _data_header(made),
        "model_data.cc": _data(made),
        "model_settings.h": _settings(made),
        "model_operators.h": _operators(made),
        "model_vectors.h": _vectors_header(made),
        "model_vectors.cc": _vectors(made),
        "README.md": _about(made),
    }
    fixed = resources.files(__package__ or __name__).joinpath("cpp")
    return {
        "model.tflite": made.content,
        **{name: text.encode() for name, text in written.items()},
        **{name: fixed.joinpath(name).read_bytes() for name in FIXED},
    }


def _data_header(made: Firmware) -> str:
    size = len(made.content)
    content = (
        "// The network, a .tflite file.\n"
        f"inline constexpr unsigned kSize = {size};\n"
        "alignas(16) extern const unsigned char kData[kSize];\n"
    )
    return header("data", within(content))


def _data(made: Firmware) -> str:
    numbers = np.frombuffer(made.content, dtype=np.uint8)
    content = array("alignas(16) const unsigned char kData[kSize]", numbers)
    return f'#include "model_data.h"\n\n{within(content)}'


def _settings(made: Firmware) -> str:
    room = made.room
    content = (
        "// Bytes of the arena. Activations: exactly, by the plan that the file has.\n"
        f"inline constexpr unsigned kArenaHead = {room.head};\n"
        "// What the runtime keeps: an estimate for processors of 32 bits, and a quarter of it.\n"
        f"inline constexpr unsigned kArenaTail = {room.tail};\n"
        f"inline constexpr unsigned kArenaSpare = {room.spare};\n"
        "// Buffers of CMSIS-NN's kernels on processors with DSP instructions, by its formulas; 0\n"
        "// are needed by the reference kernels, and others may need more.\n"
        f"inline constexpr unsigned kArenaKernels = {room.kernels};\n"
        "inline constexpr unsigned kArenaSize =\n"
        "    kArenaHead + kArenaTail + kArenaSpare + kArenaKernels;\n\n"
        + _grids(made.program, "Input", made.program.inputs)
        + "\n"
        + _grids(made.program, "Output", made.program.outputs)
    )
    return header("settings", f'#include "model_grid.h"\n\n{within(content)}')


def _grids(program: Program, kind: str, ports: Sequence[Port]) -> str:
    """The constants of all inputs, or of all outputs."""
    lines: list[str] = []
    for port in ports:
        tensor = program.tensors[port.tensor]
        if tensor.steps is None or tensor.dtype != np.int8:
            raise ValueError(
                f"firmware: an {kind.lower()} of {tensor.shape} is no int8 on a grid, and test "
                "vectors are bytes: normalise before the network, not in it, or convolve first"
            )
        grid = (
            f"{single(tensor.steps.scale)}, {tensor.steps.zero}, {tensor.size}, "
            f"{len(tensor.shape)}, {braces(tensor.shape)}"
        )
        lines.append(f"    // {laid_out(port)}\n    {{{grid}}},\n")
    head = f"inline constexpr int k{kind}Count = {len(ports)};\n"
    return f"{head}inline constexpr Grid k{kind}s[k{kind}Count] = {{\n{''.join(lines)}}};\n"


def laid_out(port: Port) -> str:
    """How an input or output lies in memory, in words."""
    shape = port.shape
    names = {4: "row, column, channel", 3: "time, channel"}.get(len(shape), "feature")
    network = f"{braces(shape)} of the network"
    if np.array_equal(port.order, channels_last(shape)):
        return f"{network}, by {names}: the last is the fastest"
    if np.array_equal(port.order, plain(shape)):
        return f"{network}, in its own order: the last dimension is the fastest"
    return f"{network}, in an order of its own: see the test vectors"


def _operators(made: Firmware) -> str:
    calls = [f"resolver.Add{camel(name)}() != kTfLiteOk" for name in made.operators]
    joined = " ||\n      ".join(calls)
    content = (
        "// All operators that the network has, and no other.\n"
        f"using Resolver = tflite::MicroMutableOpResolver<{len(calls)}>;\n\n"
        "inline TfLiteStatus AddOperators(Resolver& resolver) {\n"
        f"  if ({joined}) {{\n    return kTfLiteError;\n  }}\n  return kTfLiteOk;\n}}\n"
    )
    include = '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"'
    return header("operators", f"{include}\n\n{within(content)}")


def _vectors_header(made: Firmware) -> str:
    content = (
        "// What the network is asked, and what the reference answers: vector behind vector, for\n"
        "// each input and each output.\n"
        f"inline constexpr int kVectorCount = {made.vectors.count};\n"
        "extern const int8_t* const kVectorInputs[kInputCount];\n"
        "extern const int8_t* const kVectorOutputs[kOutputCount];\n"
    )
    return header("vectors", f'#include "model_settings.h"\n\n{within(content)}')


def _vectors(made: Firmware) -> str:
    parts: list[str] = []
    for kind, ports in (("Input", made.vectors.inputs), ("Output", made.vectors.outputs)):
        names = [f"k{kind}{n}" for n in range(len(ports))]
        each = [
            array(f"const int8_t {name}[]", port) for name, port in zip(names, ports, strict=True)
        ]
        table = f"const int8_t* const kVector{kind}s[k{kind}Count] = {{{', '.join(names)}}};\n"
        parts.append(f"namespace {{\n\n{''.join(each)}\n}}  // namespace\n\n{table}")
    return f'#include "model_vectors.h"\n\n{within(chr(10).join(parts))}'


def _about(made: Firmware) -> str:
    room = made.room
    size = len(made.content)
    return f"""# A network for TensorFlow Lite Micro

{size:,} bytes of flash for the network, {room.size:,} of RAM for its arena.

| file | what it is |
|---|---|
| `model_data.h`, `model_data.cc` | the network, an array on multiples of 16 bytes |
| `model_operators.h` | the resolver with its {len(made.operators)} kinds of operators |
| `model_settings.h` | size of the arena; scale, zero and shape of inputs and outputs |
| `model_grid.h` | from numbers to bytes and back |
| `model_vectors.h`, `model_vectors.cc` | {made.vectors.count} vectors: inputs, expected bytes |
| `model_test.h`, `model_test.cc` | runs them on the device, prints the first difference |
| `main.cc` | a skeleton; yours, and kept when the folder is written again |
| `model.tflite` | the same network as a file |
| `SHA256SUMS` | `sha256sum -c SHA256SUMS`: whether all of these were written together |

`main.cc` and whatever else you put here stay as they are when the folder is written again; the
other files of this list are replaced.

Compile all `.cc` files as C++17 together with TensorFlow Lite Micro, which has to be there. It has
to round twice, its default: leave `TFLITE_SINGLE_ROUNDING` and `CMSIS_NN_USE_SINGLE_ROUNDING`
alone. `WrongVectors` returns 0 where the device computes what the reference does, to the last byte.

The arena is {room.head:,} bytes of activations, exactly; {room.tail:,} that the runtime keeps, an
estimate, and {room.spare:,} more, a quarter of it; and {room.kernels:,} for CMSIS-NN's kernels on a
processor with DSP instructions. `main.cc` prints how much was used.
{_floats(made)}"""


def _floats(made: Firmware) -> str:
    """What is not exact; empty where all is integers."""
    layers = made.program.floating()
    if not layers:
        return ""
    which = f"{len(layers)} layers, `{layers[0]}` the first, are"
    which = f"`{layers[0]}` is" if len(layers) == 1 else which
    return f"""
Not all of it is integers: {which} computed in float32. A
device may add in another order, and its outputs differ by a step now and then.
"""
