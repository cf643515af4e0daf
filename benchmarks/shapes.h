// The model shapes that are measured: the paper's (table 1 and 2 of arXiv:2411.04965) and the released b1.58 2B; and
// how the shape of a matrix is written.
#ifndef BITNET_BENCHMARKS_SHAPES_H_
#define BITNET_BENCHMARKS_SHAPES_H_

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "bitnet/base/result.h"
#include "bitnet/model/config.h"

namespace bitnet {

struct ModelShape {
  const char* name;
  ModelConfig config;
  // Shares of gates that are closed, and of the inputs of `down` that are zero. Table 2; of its column `up`, which
  // counts zero inputs too, the part that the gates cause.
  double closed_gates = 0.0;
  double down_zeros = 0.0;
};

inline std::vector<ModelShape> ModelShapes() {
  const auto config = [](uint32_t hidden, uint32_t ffn, uint32_t layers, uint32_t heads, uint32_t kv_heads,
                         uint32_t vocab, bool tied) {
    ModelConfig c;
    c.vocab = vocab;
    c.hidden = hidden;
    c.layers = layers;
    c.heads = heads;
    c.kv_heads = kv_heads;
    c.head_dim = hidden / heads;
    c.ffn = ffn;
    c.max_positions = 4096;
    c.tied_embedding = tied;
    return c;
  };
  // up = 1 - (1 - zero inputs) (1 - closed gates)
  const auto closed = [](double up, double inputs) { return 1.0 - (1.0 - up) / (1.0 - inputs); };
  return {
      {"700M", config(1536, 4096, 24, 24, 24, 32000, false), closed(0.662, 0.121), 0.809},
      {"1.3B", config(2048, 5460, 24, 32, 32, 32000, false), closed(0.659, 0.121), 0.818},
      {"3B", config(3200, 8640, 26, 32, 32, 32000, false), closed(0.707, 0.121), 0.856},
      {"7B", config(4096, 11008, 32, 32, 32, 32000, false), closed(0.714, 0.120), 0.842},
      // Not in the table: as the paper's 3B.
      {"2B-4T", config(2560, 6912, 30, 20, 5, 128256, true), closed(0.707, 0.121), 0.856},
  };
}

// [rows, cols] of a matrix.
struct MatrixShape {
  size_t rows = 0;
  size_t cols = 0;
};

// Reads "3072x8192".
inline Result<MatrixShape> ParseMatrixShape(std::string_view text) {
  // The float weights of the largest take 4 GiB.
  constexpr size_t kMostWeights = size_t{1} << 30;
  MatrixShape shape;
  const char* const end = text.data() + text.size();
  const auto rows = std::from_chars(text.data(), end, shape.rows);
  if (rows.ec == std::errc() && rows.ptr != end && *rows.ptr == 'x') {
    const auto cols = std::from_chars(rows.ptr + 1, end, shape.cols);
    const bool is_read = cols.ec == std::errc() && cols.ptr == end;
    if (is_read && shape.rows > 0 && shape.cols > 0 && shape.rows <= kMostWeights / shape.cols) return shape;
  }
  return Error{"a shape is ROWSxCOLS, for example 3072x8192, of " + std::to_string(kMostWeights) +
               " weights at most; this is '" + std::string(text) + "'"};
}

}  // namespace bitnet

#endif  // BITNET_BENCHMARKS_SHAPES_H_
