"""The least of TensorFlow Lite Micro's headers that generated firmware compiles against.

The wheel of `tflite-micro` has an interpreter and no headers. The stub's interpreter computes
nothing: it knows the answers of the real one for a table of inputs, and says 0 to any others. It is
as strict as the real one where firmware could be wrong: names of operators, their number, the
alignment of network and arena; and, as a plan of memory does, it destroys its inputs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Numbers = NDArray[Any]

FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O0")

COMMON = """
#pragma once
#include <cstddef>
#include <cstdint>
enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };
enum TfLiteType { kTfLiteFloat32 = 1, kTfLiteInt8 = 9 };
union TfLitePtrUnion { int8_t* int8; float* f; };
struct TfLiteTensor { TfLiteType type; TfLitePtrUnion data; size_t bytes; };
"""

LOG = """
#pragma once
#include <cstdarg>
#include <cstdio>
inline void MicroPrintf(const char* format, ...) {
  va_list given;
  va_start(given, format);
  std::vprintf(format, given);
  va_end(given);
  std::printf("\\n");
}
"""

SETUP = """
#pragma once
namespace tflite { inline void InitializeTarget() {} }
"""

SCHEMA = """
#pragma once
#include <cstring>
#define TFLITE_SCHEMA_VERSION 3
namespace tflite {
struct Model {
  unsigned version() const {
    return std::memcmp(reinterpret_cast<const char*>(this) + 4, "TFL3", 4) ? 0 : 3;
  }
};
inline const Model* GetModel(const void* data) { return static_cast<const Model*>(data); }
}
"""

RESOLVER = """
#pragma once
#include <cstdio>
#include "tensorflow/lite/c/common.h"
namespace tflite {
struct MicroOpResolver { unsigned used = 0; };
template <unsigned N>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  METHODS
  unsigned capacity() const { return N; }
 private:
  TfLiteStatus Add(const char* name) {
    std::printf("operator %s\\n", name);
    return used++ < N ? kTfLiteOk : kTfLiteError;
  }
};
}
"""

_METHODS = """
Add AveragePool2D Concatenation Conv2D DepthwiseConv2D Dequantize FullyConnected HardSwish Logistic
MaxPool2D Mean Mul Pad Quantize Relu Relu6 Reshape Rsqrt Slice Sub
"""

METHODS = tuple(_METHODS.split())
"""Names behind `Add`, as in micro_mutable_op_resolver.h of tflite-micro."""

INTERPRETER = """
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include "answers.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
namespace tflite {
class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& resolver, uint8_t* arena, size_t size)
      : fine_(model->version() == 3 && resolver.used == answers::kOperators &&
              reinterpret_cast<uintptr_t>(model) % 16 == 0 &&
              reinterpret_cast<uintptr_t>(arena) % 16 == 0), size_(size) {
    for (int n = 0; n < answers::kInputs; ++n) {
      inputs_[n] = {kTfLiteInt8, {new int8_t[answers::kInputBytes[n]]()}, answers::kInputBytes[n]};
    }
    for (int n = 0; n < answers::kOutputs; ++n) {
      outputs_[n] = {kTfLiteInt8, {new int8_t[answers::kOutputBytes[n]]()},
                     answers::kOutputBytes[n]};
    }
  }
  TfLiteStatus AllocateTensors() {
    return fine_ && size_ >= answers::kArena ? kTfLiteOk : kTfLiteError;
  }
  TfLiteTensor* input(size_t n) { return &inputs_[n]; }
  TfLiteTensor* output(size_t n) { return &outputs_[n]; }
  size_t arena_used_bytes() const { return answers::kArena; }
  TfLiteStatus Invoke() {
    int known = -1;
    for (int v = 0; v < answers::kVectors; ++v) {
      bool same = true;
      for (int n = 0; n < answers::kInputs; ++n) {
        const size_t bytes = answers::kInputBytes[n];
        same = same && !std::memcmp(inputs_[n].data.int8, answers::kGiven[n] + v * bytes, bytes);
      }
      if (same) known = v;
    }
    std::printf("run %d\\n", known);
    for (int n = 0; n < answers::kInputs; ++n) {
      std::memset(inputs_[n].data.int8, 85, answers::kInputBytes[n]);
    }
    for (int n = 0; n < answers::kOutputs; ++n) {
      const size_t bytes = answers::kOutputBytes[n];
      if (known < 0) std::memset(outputs_[n].data.int8, 0, bytes);
      else std::memcpy(outputs_[n].data.int8, answers::kAnswers[n] + known * bytes, bytes);
    }
    return kTfLiteOk;
  }
 private:
  bool fine_;
  size_t size_;
  TfLiteTensor inputs_[answers::kInputs];
  TfLiteTensor outputs_[answers::kOutputs];
};
}
"""


def headers(
    folder: Path,
    inputs: Sequence[Numbers],
    outputs: Sequence[Numbers],
    operators: int,
    arena: int,
) -> Path:
    """Write the headers; (vectors, bytes) for each input, and what the real interpreter said."""
    micro = folder / "tensorflow" / "lite" / "micro"
    methods = (f'TfLiteStatus Add{n}() {{ return this->Add("{n}"); }}' for n in METHODS)
    content = {
        "answers.h": _answers(inputs, outputs, operators, arena),
        "tensorflow/lite/c/common.h": COMMON,
        "tensorflow/lite/schema/schema_generated.h": SCHEMA,
        "tensorflow/lite/micro/micro_log.h": LOG,
        "tensorflow/lite/micro/system_setup.h": SETUP,
        "tensorflow/lite/micro/micro_interpreter.h": INTERPRETER,
        "tensorflow/lite/micro/micro_mutable_op_resolver.h": RESOLVER.replace(
            "METHODS", "\n  ".join(methods)
        ),
    }
    for name in ("c", "schema", "micro"):
        (micro.parent / name).mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def _answers(
    inputs: Sequence[Numbers], outputs: Sequence[Numbers], operators: int, arena: int
) -> str:
    lines = [
        "#pragma once", "#include <cstddef>", "#include <cstdint>", "namespace answers {",
        f"constexpr unsigned kOperators = {operators}; constexpr size_t kArena = {arena};",
        f"constexpr int kVectors = {len(inputs[0])};",
    ]  # fmt: skip
    for kind, given, ports in (("Input", "Given", inputs), ("Output", "Answers", outputs)):
        sizes = ", ".join(str(port.shape[1]) for port in ports)
        names = ", ".join(f"k{kind}{n}" for n in range(len(ports)))
        lines += [f"constexpr int k{kind}s = {len(ports)};"]
        lines += [f"constexpr size_t k{kind}Bytes[] = {{{sizes}}};"]
        for n, port in enumerate(ports):
            numbers = ", ".join(map(str, port.reshape(-1).tolist()))
            lines += [f"constexpr int8_t k{kind}{n}[] = {{{numbers}}};"]
        lines += [f"constexpr const int8_t* k{given}[] = {{{names}}};"]
    return "\n".join([*lines, "}", ""])


def compiled(firmware: Path, stub: Path, main: Path, program: Path) -> Path:
    """A program of a folder's sources, with another `main` where that is not its own."""
    sources = [p for p in sorted(firmware.glob("*.cc")) if p.name != "main.cc"]
    command = ["g++", *FLAGS, f"-I{stub}", f"-I{firmware}", *sources, main, "-o", program]
    done = subprocess.run(  # noqa: S603 - our own command
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return program


def run(program: Path) -> tuple[int, list[str]]:
    """Exit code and lines of output."""
    done = subprocess.run(  # noqa: S603 - our own program
        [os.fspath(program)], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout.splitlines()
