// A skeleton to begin with: this file is yours, and is kept when the folder is written again.
// On Arduino the first part of main() belongs into setup(), the last into loop().
#include <cstdint>

#include "model_data.h"
#include "model_operators.h"
#include "model_settings.h"
#include "model_test.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

alignas(16) uint8_t arena[model::kArenaSize];

}  // namespace

int main() {
  tflite::InitializeTarget();

  const tflite::Model* network = tflite::GetModel(model::kData);
  if (network->version() != TFLITE_SCHEMA_VERSION) {
    MicroPrintf("this runtime reads files of another version");
    return 1;
  }
  static model::Resolver resolver;
  if (model::AddOperators(resolver) != kTfLiteOk) return 1;
  static tflite::MicroInterpreter interpreter(network, resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    MicroPrintf("the arena is too small for these kernels: give it more than kArenaSize");
    return 1;
  }
  MicroPrintf("arena: %u of %u bytes are used",
              static_cast<unsigned>(interpreter.arena_used_bytes()), model::kArenaSize);

  // The proof. Leave it out of a product: it brings the test vectors with it.
  if (model::WrongVectors(interpreter) != 0) return 1;

  // One run: numbers in, bytes, the largest output.
  const model::Grid& input = model::kInputs[0];
  int8_t* given = interpreter.input(0)->data.int8;
  for (int n = 0; n < input.bytes; ++n) {
    const float feature = 0.0f;  // yours, in the order that model_settings.h says
    given[n] = model::Quantized(feature, input);
  }
  if (interpreter.Invoke() != kTfLiteOk) return 1;
  const int8_t* found = interpreter.output(0)->data.int8;
  int best = 0;
  for (int n = 1; n < model::kOutputs[0].bytes; ++n) {
    if (found[n] > found[best]) best = n;
  }
  MicroPrintf("the largest output is number %d", best);
  return 0;
}
