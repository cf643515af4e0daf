// Real arithmetic that no compiler can change: each multiply-add is a product of two floats (exact in double) plus
// one rounding, so fusing it or not gives the same bits; long sums run over eight lanes of blocks in a fixed order.
// docs/numerics.md says why. Backends repeat these orders in vectors; this file is what they are compared with.
#ifndef BITNET_BASE_EXACT_MATH_H_
#define BITNET_BASE_EXACT_MATH_H_

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "bitnet/base/assert.h"
#include "bitnet/base/host_device.h"

namespace bitnet {

// (A device cannot call quiet_NaN().)
inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

inline constexpr size_t kSumLanes = 8;
// Terms of a block: 0 ... 255, 256 ... 511, ... of the sum. Within a block a lane adds one term after the other.
inline constexpr size_t kSumBlock = 256;

// Eight partial sums; term i of a long sum belongs to lane i % 8.
struct SumLanes {
  double lane[kSumLanes] = {};
  double Fold() const {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
  }
  friend SumLanes operator+(SumLanes a, const SumLanes& b) {
    for (size_t i = 0; i < kSumLanes; ++i) a.lane[i] += b.lane[i];
    return a;
  }
};

// The sums of blocks, added lane by lane in a binary tree: neighbours 0 + 1, 2 + 3, ..., then neighbours of those; one
// without a neighbour passes up as it is. So seven blocks make ((0 + 1) + (2 + 3)) + ((4 + 5) + 6). They may come one
// after the other: like the bits of a counter, the tree keeps one sum of each power of two that is complete. A node may
// itself be the total of a tree over the next power of two of blocks, or over the last few.
template <class Sum, size_t kLevels = 56>
requires std::is_trivially_copyable_v<Sum>
class BlockTree {
 public:
  void Add(Sum block) {
    size_t level = 0;
    for (size_t complete = count_; complete % 2 != 0; complete /= 2) block = Load(level++) + block;
    BITNET_ASSERT(level < kLevels, "BlockTree: more blocks than it has room for");
    std::memcpy(sums_ + level * sizeof(Sum), &block, sizeof(Sum));
    ++count_;
  }
  // Zero, if there is no block.
  Sum Total() const {
    if (count_ == 0) return Sum();
    auto level = static_cast<size_t>(std::countr_zero(count_));
    Sum total = Load(level);
    for (size_t complete = (count_ >> level) / 2; complete != 0; complete /= 2) {
      ++level;
      if (complete % 2 != 0) total = Load(level) + total;
    }
    return total;
  }

 private:
  Sum Load(size_t level) const {
    Sum sum;
    std::memcpy(&sum, sums_ + level * sizeof(Sum), sizeof(Sum));
    return sum;
  }

  size_t count_ = 0;
  alignas(Sum) std::byte sums_[kLevels * sizeof(Sum)];  // of 2^level blocks, where bit `level` of the count is set
};

// sum_i double(term(i)) for i in [0, n), in the fixed order. `term` may return any real type; a product of two floats
// is to be returned as `double(a) * b`.
template <class Term>
double OrderedSum(size_t n, Term&& term) {
  BlockTree<SumLanes> blocks;
  for (size_t begin = 0; begin < n; begin += kSumBlock) {
    SumLanes sum;
    const size_t end = n - begin < kSumBlock ? n : begin + kSumBlock;
    for (size_t i = begin; i < end; ++i) sum.lane[i % kSumLanes] += static_cast<double>(term(i));
    blocks.Add(sum);
  }
  return blocks.Total().Fold();
}

// Coefficients of Exp, shared with the vector versions.
struct ExpConstants {
  static constexpr float kLowest = -87.0f;  // below, the result is 0: it would be subnormal
  static constexpr float kLog2E = 1.44269504088896341f;
  // ln 2 with the low 9 bits of its significand cleared, so that n * kLn2 is exact in double for |n| < 512.
  static constexpr double kLn2 = 0x1.62e42fefa38p-1;
  // Taylor-like coefficients of exp on [-ln2/2, ln2/2], highest power first, minimax for relative error.
  static constexpr float kPolynomial[7] = {0x1.6a98dap-10f, 0x1.126ddep-7f, 0x1.5558fcp-5f, 0x1.55543p-3f,
                                           0x1p-1f,         0x1p0f,         0x1p0f};
};

// exp(x) for x <= 0; 0 below -87, NaN for NaN. Error below 2 units in the last place; the same bits everywhere.
BITNET_HOST_DEVICE inline float Exp(float x) {
#ifndef __CUDA_ARCH__
  BITNET_ASSERT(!(x > 0.0f), "Exp is for arguments that are not above zero");
#endif
  if (std::isnan(x)) return x;
  if (x < ExpConstants::kLowest) return 0.0f;
  const float n = std::rint(x * ExpConstants::kLog2E);
  const float r = static_cast<float>(double(x) - double(n) * ExpConstants::kLn2);
  using C = ExpConstants;
  // (A copy: a device has no access to arrays of the host's.)
  constexpr float kPolynomial[7] = {C::kPolynomial[0], C::kPolynomial[1], C::kPolynomial[2], C::kPolynomial[3],
                                    C::kPolynomial[4], C::kPolynomial[5], C::kPolynomial[6]};
  float p = kPolynomial[0];
  for (int i = 1; i < 7; ++i) p = static_cast<float>(double(p) * double(r) + double(kPolynomial[i]));
  const auto power = static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23;
  return p * BitCast<float>(power);
}

}  // namespace bitnet

#endif  // BITNET_BASE_EXACT_MATH_H_
