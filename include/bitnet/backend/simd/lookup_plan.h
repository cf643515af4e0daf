// LookupPlan: how a product of two formats is computed on a kind of CPU, derived at compile time from their levels.
//
// A group of g weights takes one of levels^g values; for one token its partial dot product with each of them fits a
// table of bytes. One index then stands for g multiply-adds, of which 16 to 64 are looked up at once. With symmetric
// levels half the table serves both signs: table(-w) = -table(w). Inputs whose entries would not fit a byte are split
// in two digits, x = 2^k * high + low, with a table each ("planes"). All of it is exact.
//
// Among the groups that fit the table the plan takes the one with the fewest stored bits a weight. Where a lookup would
// stand for less than two multiply-adds a plane, or saves too little, lookups do not pay: the plan is an integer dot
// product. No SIMD here: a plan for any CPU can be computed, and printed, on every other.
#ifndef BITNET_BACKEND_SIMD_LOOKUP_PLAN_H_
#define BITNET_BACKEND_SIMD_LOOKUP_PLAN_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <string>

#include "bitnet/format/format.h"

namespace bitnet {

enum class ProductMethod {
  kLookup,
  kIntegerDot,
  kFloat,  // an operand is not quantized
};

struct LookupPlan {
  ProductMethod method = ProductMethod::kIntegerDot;
  // The rest is for kLookup.
  size_t group = 0;    // weights an index stands for
  size_t entries = 0;  // of a table
  bool mirrored = false;
  size_t index_bits = 0;  // without the sign that a mirrored index has besides
  size_t planes = 0;
  int digit_bits = 0;              // of the low digit, where there are two planes
  int max_digit = 0;               // largest magnitude of a digit of an input
  size_t groups_per_widening = 0;  // partial sums that add up in 8 bits

  constexpr size_t StoredBits() const { return index_bits + (mirrored ? 1 : 0); }
};

namespace detail {

// The largest magnitude of both digits of levels [bottom, top], where the low digit is in [-2^(bits-1), 2^(bits-1)).
constexpr int MaxDigit(int bottom, int top, int bits) {
  const int half = 1 << (bits - 1);
  const auto high = [&](int x) { return (x + half) >> bits; };
  return std::max({half, -high(bottom), high(top)});
}

}  // namespace detail

// The plan of W weights and X inputs for tables of `table_entries` bytes; 0 where the CPU has no byte shuffle.
template <Format W, Format X>
constexpr LookupPlan PlanProduct(size_t table_entries) {
  LookupPlan best;
  if constexpr (kIsFloat<W> || kIsFloat<X>) {
    best.method = ProductMethod::kFloat;
  } else {
    using Weights = FormatTraits<W>;
    using Inputs = FormatTraits<X>;
    // Tables are built from products of a digit with up to 16 levels; two digits are enough for inputs up to 255.
    if (Weights::kCount > 16 || Weights::kMaxMagnitude > 127 || Inputs::kMaxMagnitude > 255) return best;
    size_t combinations = 1;
    for (size_t group = 1; group <= 8; ++group) {
      combinations *= Weights::kCount;
      for (const bool mirrored : {false, true}) {
        if (mirrored && !Weights::kIsSymmetric) continue;
        LookupPlan plan;
        plan.method = ProductMethod::kLookup;
        plan.group = group;
        plan.entries = mirrored ? (combinations + 1) / 2 : combinations;
        plan.mirrored = mirrored;
        plan.index_bits = static_cast<size_t>(std::bit_width(plan.entries - 1));
        if (plan.entries > table_entries || plan.StoredBits() > 8 || plan.index_bits == 0) continue;

        const int largest = static_cast<int>(group) * Weights::kMaxMagnitude;
        if (largest * Inputs::kMaxMagnitude <= 127) {
          plan.planes = 1;
          plan.max_digit = Inputs::kMaxMagnitude;
        } else {
          plan.planes = 2;
          plan.max_digit = 256;
          for (int bits = 2; bits <= 7; ++bits) {
            const int digit = detail::MaxDigit(Inputs::kBottom, Inputs::kTop, bits);
            if (digit < plan.max_digit) plan.max_digit = digit, plan.digit_bits = bits;
          }
        }
        if (largest * plan.max_digit > 127 || group < 2 * plan.planes) continue;
        plan.groups_per_widening = static_cast<size_t>(127 / (largest * plan.max_digit));
        // Two weights a lookup, each widened, take longer from cache than dot products (Sapphire Rapids, 1536 x 1536:
        // nine levels by INT4 29 us against 14). From memory bits decide: they must be a quarter fewer than those of
        // codes that unpack as fast, of 1, 2, 4 or 8 bits.
        const size_t code_bits = std::bit_ceil(static_cast<size_t>(Weights::kCodeBits));
        if (group * plan.groups_per_widening <= 2 && 4 * plan.StoredBits() > 3 * group * code_bits) continue;
        // Fewer bits a weight; then more weights a lookup.
        const size_t bits = plan.StoredBits() * best.group;
        const size_t best_bits = best.StoredBits() * plan.group;
        if (best.method != ProductMethod::kLookup || bits < best_bits ||
            (bits == best_bits && group * best.planes > best.group * plan.planes)) {
          best = plan;
        }
      }
    }
  }
  return best;
}

// One line: "lookup: 5 weights an index, 122 entries mirrored, 1.60 bits a weight, 1 byte plane, widened every 3".
inline std::string Describe(const LookupPlan& plan) {
  if (plan.method == ProductMethod::kFloat) return "float: sums in double";
  if (plan.method == ProductMethod::kIntegerDot) return "integer dot product";
  const size_t hundredths = (200 * plan.StoredBits() + plan.group) / (2 * plan.group);
  std::string text = "lookup: " + std::to_string(plan.group) + " weights an index, " + std::to_string(plan.entries) +
                     " entries" + (plan.mirrored ? " mirrored" : "") + ", " + std::to_string(hundredths / 100) + "." +
                     std::to_string(hundredths / 10 % 10) + std::to_string(hundredths % 10) + " bits a weight, " +
                     std::to_string(plan.planes) + (plan.planes == 1 ? " byte plane" : " byte planes") +
                     ", widened every " + std::to_string(plan.groups_per_widening);
  return text;
}

}  // namespace bitnet

#endif  // BITNET_BACKEND_SIMD_LOOKUP_PLAN_H_
