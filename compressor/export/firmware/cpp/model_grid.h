// Inputs and outputs of the network: bytes that stand for numbers.
#ifndef MODEL_GRID_H_
#define MODEL_GRID_H_

#include <cmath>
#include <cstdint>

namespace model {

// A byte q stands for (q - zero) * scale.
struct Grid {
  float scale;
  int zero;
  int bytes;       // entries, one byte each
  int dimensions;  // how many entries of `shape` are used
  int shape[4];    // as bytes lie in memory: the last dimension is the fastest
};

// The byte for a number: halves to even, and what is beyond the grid is limited, as in the
// reference.
inline int8_t Quantized(float value, const Grid& grid) {
  const float steps = std::nearbyint(value / grid.scale) + static_cast<float>(grid.zero);
  if (!(steps > -128.0f)) return -128;
  return steps < 127.0f ? static_cast<int8_t>(steps) : 127;
}

// The number that a byte stands for.
inline float Value(int8_t byte, const Grid& grid) {
  return static_cast<float>(byte - grid.zero) * grid.scale;
}

}  // namespace model

#endif  // MODEL_GRID_H_
