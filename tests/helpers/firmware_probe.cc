// Prints what compiled firmware holds, for a test to compare.
#include <cstdint>
#include <cstdio>

#include "model_data.h"
#include "model_operators.h"
#include "model_settings.h"
#include "model_vectors.h"

namespace {

template <typename T>
void Print(const char* name, const T* numbers, int count) {
  std::printf("%s", name);
  for (int n = 0; n < count; ++n) std::printf(" %d", static_cast<int>(numbers[n]));
  std::printf("\n");
}

void PrintPorts(const char* name, const model::Grid* grids, int count,
                const int8_t* const* vectors) {
  for (int n = 0; n < count; ++n) {
    const model::Grid& grid = grids[n];
    std::printf("%s %a %d %d\n", name, static_cast<double>(grid.scale), grid.zero, grid.bytes);
    Print("shape", grid.shape, grid.dimensions);
    Print("vectors", vectors[n], model::kVectorCount * grid.bytes);
    std::printf("bytes");
    for (int k = -40; k <= 40; ++k) {
      const float steps = static_cast<float>(k) * 7.5f;
      std::printf(" %d", static_cast<int>(model::Quantized(steps * grid.scale, grid)));
    }
    std::printf("\nvalues");
    for (int k = -128; k < 128; ++k) {
      std::printf(" %a", static_cast<double>(model::Value(static_cast<int8_t>(k), grid)));
    }
    std::printf("\n");
  }
}

}  // namespace

int main() {
  std::printf("aligned %d\n", static_cast<int>(reinterpret_cast<uintptr_t>(model::kData) % 16));
  std::printf("arena %u %u %u %u %u\n", model::kArenaHead, model::kArenaTail, model::kArenaSpare,
              model::kArenaKernels, model::kArenaSize);
  Print("data", model::kData, static_cast<int>(model::kSize));
  PrintPorts("input", model::kInputs, model::kInputCount, model::kVectorInputs);
  PrintPorts("output", model::kOutputs, model::kOutputCount, model::kVectorOutputs);
  model::Resolver resolver;
  const bool added = model::AddOperators(resolver) == kTfLiteOk;
  std::printf("resolver %d %u %u\n", added, resolver.used, resolver.capacity());
  return 0;
}
