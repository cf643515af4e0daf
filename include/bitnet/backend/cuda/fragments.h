// What products by the matrix unit share. Weights are its 16 rows, tokens its 8 columns (mma.sync.m16n8k32): lane
// 4 g + q holds
//
//   a[0], a[1]   of rows g and g + 8, four weights of its columns; a[2], a[3] the four after them
//   b[0], b[1]   of token g, the inputs of the same columns
//   c[0], c[1]   of row g, the sums of tokens 2 q and 2 q + 1; c[2], c[3] of row g + 8
//
// A sum of integers has no order: which columns these are does not matter, if weights and inputs agree.
#ifndef BITNET_BACKEND_CUDA_FRAGMENTS_H_
#define BITNET_BACKEND_CUDA_FRAGMENTS_H_

#include <cstddef>
#include <cstdint>

#include "bitnet/backend/cuda/code_words.h"
#include "bitnet/backend/cuda/device.h"
#include "bitnet/backend/cuda/unroll.h"
#include "bitnet/backend/cuda/views.h"
#include "bitnet/tensor/operand.h"

namespace bitnet::cuda {

inline constexpr uint32_t kUnitRows = 16;
inline constexpr uint32_t kUnitTokens = 8;

// Where a lane stands.
struct UnitLane {
  uint32_t g;
  uint32_t q;

  template <class Device>
  BITNET_DEVICE explicit UnitLane(const Device& d) : g(d.lane() / 4), q(d.lane() % 4) {}
  // Of the sum c[i]: its row and its token.
  BITNET_DEVICE uint32_t Row(unsigned i) const { return g + i / 2 * 8; }
  BITNET_DEVICE uint32_t Token(unsigned i) const { return 2 * q + i % 2; }
};

// Sums of quads and, for formats with an offset, of the inputs that they met.
template <class Words>
struct UnitSums {
  int32_t c[4];
  int32_t x;  // of token g, those of this lane

  BITNET_DEVICE void Clear() {
    BITNET_UNROLL
    for (unsigned i = 0; i < 4; ++i) c[i] = 0;
    x = 0;
  }
  template <class Device>
  BITNET_DEVICE void Multiply(Device& d, const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    d.Mma(c, a, b);
  }
  // The inputs count once, however many rows they meet.
  template <class Device>
  BITNET_DEVICE void CountInputs(Device& d, const uint32_t (&b)[2]) {
    if constexpr (Words::kOffset != 0) {
      x = d.Dp4a(b[0], kOnes, x);
      x = d.Dp4a(b[1], kOnes, x);
    }
  }
  // The sums of the inputs of this lane's two tokens, by all lanes; before Dot.
  template <class Device>
  BITNET_DEVICE void SpreadInputs(Device& d, int32_t (&of_tokens)[2]) const {
    of_tokens[0] = of_tokens[1] = 0;
    if constexpr (Words::kOffset != 0) {
      int32_t sum = x + d.ShuffleXor(x, 1);
      sum += d.ShuffleXor(sum, 2);
      const uint32_t first = UnitLane(d).Token(0) * 4;
      of_tokens[0] = d.Shuffle(sum, first);
      of_tokens[1] = d.Shuffle(sum, first + 4);
    }
  }
};

// The levels of 16 columns of a token as words, zeros where they are not wanted.
template <class Device>
BITNET_DEVICE void LoadSpan(Device& d, uint32_t (&to)[4], const int8_t* from, bool is_wanted) {
  BITNET_UNROLL
  for (unsigned i = 0; i < 4; ++i) to[i] = 0;
  if (is_wanted) d.Load16(to, from);
}

// Words that lie together and are aligned as a whole, up to 16 bytes.
template <unsigned kCount, class Device>
BITNET_DEVICE void LoadWords(Device& d, uint32_t (&to)[kCount], const std::byte* from) {
  if constexpr (kCount == 1) {
    to[0] = *reinterpret_cast<const uint32_t*>(from);
  } else if constexpr (kCount == 2) {
    const uint64_t both = *reinterpret_cast<const uint64_t*>(from);
    to[0] = static_cast<uint32_t>(both);
    to[1] = static_cast<uint32_t>(both >> 32);
  } else {
    static_assert(kCount % 4 == 0);
    BITNET_UNROLL
    for (unsigned i = 0; i < kCount; i += 4) {
      uint32_t four[4];
      d.Load16(four, from + 4 * i);
      BITNET_UNROLL
      for (unsigned k = 0; k < 4; ++k) to[i + k] = four[k];
    }
  }
}

// Where a product goes: y = it ...
struct StoreTo {
  Reals y;
  BITNET_DEVICE void operator()(size_t token, size_t row, float value) const { y.Row(token)[row] = value; }
};
// ... or y += it.
struct AddTo {
  Reals y;
  BITNET_DEVICE void operator()(size_t token, size_t row, float value) const { y.Row(token)[row] += value; }
};

}  // namespace bitnet::cuda

#endif  // BITNET_BACKEND_CUDA_FRAGMENTS_H_
