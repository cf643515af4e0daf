// LookupPlan: how a product of two formats is computed on a kind of CPU, derived at compile time from their levels.
//
// A group of g weights takes one of levels^g values; for one token its partial dot product with each of them fits a
// table of bytes. One index then stands for g multiply-adds, of which 16 to 64 are looked up at once. With symmetric
// levels half the table serves both signs: table(-w) = -table(w). Inputs whose entries would not fit a byte are split
// in two digits, x = 2^k * high + low, with a table each ("planes"). All of it is exact.
//
// Among the groups that fit the table and pay (LookupPays) the plan takes the one with the fewest stored bits a weight;
// where there is none, or where an operand has steps for groups of columns, it is an integer dot product. No SIMD here:
// a plan for any CPU can be computed, and printed, on every other.
#ifndef BITNET_BACKEND_SIMD_LOOKUP_PLAN_H_
#define BITNET_BACKEND_SIMD_LOOKUP_PLAN_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <string>

#include "bitnet/format/format.h"
#include "bitnet/tensor/operand.h"

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

// Whether lookups by this plan take less time, of a matrix in cache, than dot products of codes of `code_bits` bits. In
// steps of a shuffle with its addition, a group costs for each plane one and, since a widening costs as much, its share
// of one; a weight of a dot product costs 2/3, or 1 where bytes are multiplied in several instructions (x86 before
// VNNI, whose tables have 16 entries), and twice that for codes of an odd width.
//
// (Sapphire Rapids, one thread, 1536 x 1536, us by lookups and by dots. 128 entries: ternary by INT8 16 and 16, five
// levels by INT8 26 and 30, seven by INT4 17 and 28, Int<3> 21 and 25, MidRise<3> 24 and 28, Int<2> by FP4 16 and 16;
// what does not pay: nine levels by INT4 27 and 14, Int<2> by INT8 19 and 18. AVX2: ternary by INT8 25 and 29, Int<2>
// by Int<5> 25 and 29, Int<3> by INT4 39 and 53; what does not pay: Int<2> by INT8 29 and 29, nine levels 32 and 29.
// From memory fewer bits count besides; where they are as many, the dots of 128 entries' CPUs are up to 9 % faster.)
constexpr bool LookupPays(const LookupPlan& plan, size_t table_entries, size_t code_bits) {
  const size_t w = plan.groups_per_widening;
  const size_t thirds_of_dot = (table_entries <= 16 ? 3u : 2u) * (code_bits % 2 == 1 ? 2u : 1u);
  return 3 * plan.planes * (w + 1) <= thirds_of_dot * plan.group * w;
}

}  // namespace detail

// The plan of W weights and X inputs for tables of `table_entries` bytes; 0 where the CPU has no byte shuffle.
template <Operand W, Operand X>
constexpr LookupPlan PlanProduct(size_t table_entries) {
  LookupPlan best;
  if constexpr (kIsFloat<FormatOf<W>> || kIsFloat<FormatOf<X>>) {
    best.method = ProductMethod::kFloat;
  } else if constexpr (!kIsGrouped<W> && !kIsGrouped<X>) {
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
        if (largest * plan.max_digit > 127) continue;
        plan.groups_per_widening = static_cast<size_t>(127 / (largest * plan.max_digit));
        if (!detail::LookupPays(plan, table_entries, static_cast<size_t>(Weights::kCodeBits))) continue;
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
