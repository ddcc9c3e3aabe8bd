#include "model_test.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "model_vectors.h"
#include "tensorflow/lite/micro/micro_log.h"

namespace model {
namespace {

bool IsAsSaid(const TfLiteTensor* tensor, const Grid& grid, const char* what, int number) {
  if (tensor != nullptr && tensor->type == kTfLiteInt8 &&
      tensor->bytes == static_cast<size_t>(grid.bytes)) {
    return true;
  }
  MicroPrintf("%s %d does not have %d bytes of int8", what, number, grid.bytes);
  return false;
}

bool PortsAreAsSaid(tflite::MicroInterpreter& interpreter) {
  for (int n = 0; n < kInputCount; ++n) {
    if (!IsAsSaid(interpreter.input(n), kInputs[n], "input", n)) return false;
  }
  for (int n = 0; n < kOutputCount; ++n) {
    if (!IsAsSaid(interpreter.output(n), kOutputs[n], "output", n)) return false;
  }
  return true;
}

// True if all outputs of a vector are those of the reference; prints the first that is not.
bool IsRight(tflite::MicroInterpreter& interpreter, int vector, bool print) {
  for (int n = 0; n < kOutputCount; ++n) {
    const int8_t* found = interpreter.output(n)->data.int8;
    const int8_t* wanted = kVectorOutputs[n] + vector * kOutputs[n].bytes;
    for (int at = 0; at < kOutputs[n].bytes; ++at) {
      if (found[at] == wanted[at]) continue;
      if (print) {
        MicroPrintf("vector %d, output %d, byte %d: %d, and the reference says %d", vector, n, at,
                    static_cast<int>(found[at]), static_cast<int>(wanted[at]));
      }
      return false;
    }
  }
  return true;
}

}  // namespace

int WrongVectors(tflite::MicroInterpreter& interpreter) {
  if (!PortsAreAsSaid(interpreter)) return -1;
  int wrong = 0;
  for (int vector = 0; vector < kVectorCount; ++vector) {
    for (int n = 0; n < kInputCount; ++n) {
      std::memcpy(interpreter.input(n)->data.int8, kVectorInputs[n] + vector * kInputs[n].bytes,
                  static_cast<size_t>(kInputs[n].bytes));
    }
    if (interpreter.Invoke() != kTfLiteOk) {
      MicroPrintf("vector %d: the network does not run", vector);
      return -1;
    }
    if (!IsRight(interpreter, vector, wrong == 0)) ++wrong;
  }
  MicroPrintf("%d of %d vectors are as the reference says", kVectorCount - wrong, kVectorCount);
  return wrong;
}

}  // namespace model
