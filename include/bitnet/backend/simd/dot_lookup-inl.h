// Integer products by table lookups (lookup_plan.h): for one token, tables of the partial dot products of each group of
// inputs; then one shuffle and one addition for each group of a vector of rows.
//
// Partial sums add up in bytes, from a bias of 128 so that they are unsigned, for kPlan.groups_per_widening groups;
// then in 16-bit lanes. A lane holds two rows' bytes, 256 * high + low: adding the lanes, and adding the high bytes
// alone, gives both rows' sums modulo 2^16, in three instructions.
#if defined(BITNET_BACKEND_SIMD_DOT_LOOKUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BITNET_BACKEND_SIMD_DOT_LOOKUP_INL_H_
#undef BITNET_BACKEND_SIMD_DOT_LOOKUP_INL_H_
#else
#define BITNET_BACKEND_SIMD_DOT_LOOKUP_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "bitnet/backend/simd/lookup_layout-inl.h"
#include "bitnet/base/size.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet {
namespace HWY_NAMESPACE {

// ---- Tables.

// Of kTableBytes bytes, used or not. Entries are partial sums + kZero, modulo 256.
template <LevelFormat W, LookupPlan kPlan, size_t kTableBytes, uint8_t kZero>
struct TablesOfGroups {
  static constexpr size_t kGroupBytes = kPlan.planes * kTableBytes;  // [plane][entry]

  // tables: groups * kGroupBytes bytes, from one token's inputs x[0, cols) and zeros after them.
  template <class X>
  static HWY_NOINLINE void Build(const X* HWY_RESTRICT x, size_t cols, size_t groups, uint8_t* HWY_RESTRICT tables) {
    using D = hn::CappedTag<int8_t, kTableBytes>;
    constexpr size_t kParts = kTableBytes / hn::MaxLanes(D());
    const D d;
    const hn::RebindToUnsigned<D> du;
    for (size_t group = 0; group < groups; ++group) {
      hn::Vec<D> table[kPlan.planes][kParts];
      for (size_t plane = 0; plane < kPlan.planes; ++plane) {
        HWY_UNROLL(2)
        for (size_t part = 0; part < kParts; ++part) table[plane][part] = hn::Set(d, static_cast<int8_t>(kZero));
      }
      HWY_UNROLL(8) for (size_t i = 0; i < kPlan.group; ++i) {
        const size_t col = group * kPlan.group + i;
        const int input = col < cols ? static_cast<int>(x[col]) : 0;
        HWY_UNROLL(2) for (size_t plane = 0; plane < kPlan.planes; ++plane) {
          const auto& products = kProducts[static_cast<size_t>(Digit(input, plane) + kPlan.max_digit)];
          const auto levels_times_digit = hn::LoadDup128(d, products.data());
          HWY_UNROLL(2) for (size_t part = 0; part < kParts; ++part) {
            const auto codes = hn::LoadU(du, kCodes[i].data() + part * hn::MaxLanes(D()));
            table[plane][part] =
                hn::Add(table[plane][part], hn::TableLookupBytes(levels_times_digit, hn::BitCast(d, codes)));
          }
        }
      }
      for (size_t plane = 0; plane < kPlan.planes; ++plane) {
        HWY_UNROLL(2) for (size_t part = 0; part < kParts; ++part) {
          const size_t at = group * kGroupBytes + plane * kTableBytes + part * hn::MaxLanes(D());
          hn::StoreU(table[plane][part], d, reinterpret_cast<int8_t*>(tables + at));
        }
      }
    }
  }

 private:
  // Plane 0 has the low digit, or the input itself.
  static constexpr int Digit(int input, size_t plane) {
    if (kPlan.planes == 1) return input;
    constexpr int kHalf = (1 << kPlan.digit_bits) / 2;
    const int high = (input + kHalf) >> kPlan.digit_bits;
    return plane == 1 ? high : input - (high << kPlan.digit_bits);
  }

  // kProducts[digit + max_digit][code] = digit * level.
  alignas(16) static constexpr auto kProducts = [] {
    std::array<std::array<int8_t, 16>, static_cast<size_t>(2 * kPlan.max_digit + 1)> products{};
    for (int digit = -kPlan.max_digit; digit <= kPlan.max_digit; ++digit) {
      for (size_t code = 0; code < FormatTraits<W>::kCount; ++code) {
        products[static_cast<size_t>(digit + kPlan.max_digit)][code] =
            static_cast<int8_t>(digit * FormatTraits<W>::Level(code));
      }
    }
    return products;
  }();
  // kCodes[i][entry]: the code of weight i of the group that has this index.
  alignas(64) static constexpr auto kCodes = [] {
    std::array<std::array<uint8_t, kTableBytes>, kPlan.group> codes{};
    size_t combinations = 1;
    for (size_t i = 0; i < kPlan.group; ++i, combinations *= FormatTraits<W>::kCount) {
      for (size_t entry = 0; entry < kPlan.entries; ++entry) {
        codes[i][entry] = static_cast<uint8_t>(entry / combinations % FormatTraits<W>::kCount);
      }
    }
    return codes;
  }();
};

// What a shuffle looks up in, for the products of one token.
template <LevelFormat W, LookupPlan kPlan>
inline constexpr size_t kLookupTableBytes =
    kPlan.entries <= kTableEntries / 2 && kTableEntries > 16 ? kTableEntries / 2 : kTableEntries;

template <LevelFormat W, LookupPlan kPlan>
struct LookupTables : TablesOfGroups<W, kPlan, kLookupTableBytes<W, kPlan>, 0> {
  using Layout = LookupLayout<W, kPlan>;
  static constexpr size_t kTableBytes = kLookupTableBytes<W, kPlan>;

  static constexpr size_t Groups(size_t cols) { return Layout::Units(cols) * Layout::Packing::kUnitGroups; }
  static constexpr size_t Bytes(size_t cols) { return SizeProduct(LookupTables::kGroupBytes, Groups(cols)); }

  // Tells these tables from those of other formats and targets.
  static const void* Key() {
    static constexpr char kKey = 0;
    return &kKey;
  }
};

// A table in registers.
template <size_t kTableBytes>
struct ByteTable {
  using V = hn::Vec<DI8>;
  V low, high;  // high: of 128 and of 32 bytes

  static HWY_INLINE ByteTable Load(const uint8_t* HWY_RESTRICT bytes) {
    const DI8 d;
    const auto* p = reinterpret_cast<const int8_t*>(bytes);
    if constexpr (kTableBytes == 2 * kVectorBytes) {
      return {hn::LoadU(d, p), hn::LoadU(d, p + kVectorBytes)};
    } else if constexpr (kTableBytes == kVectorBytes) {
      return {hn::LoadU(d, p), hn::Undefined(d)};
    } else {
      static_assert(kTableBytes == 16);
      return {hn::LoadDup128(d, p), hn::Undefined(d)};
    }
  }
  HWY_INLINE V Lookup(hn::Vec<DU8> index) const {
    const DI8 d;
    if constexpr (kTableBytes == 2 * kVectorBytes) {
      return hn::TwoTablesLookupLanes(low, high, hn::IndicesFromVec(d, hn::BitCast(d, index)));
    } else if constexpr (kTableBytes == kVectorBytes && kVectorBytes > 16) {
      return hn::TableLookupLanes(low, hn::IndicesFromVec(d, hn::BitCast(d, index)));
    } else {
      return hn::TableLookupBytes(low, hn::BitCast(d, index));
    }
  }
};

// ---- Rows.

template <LevelFormat W, LookupPlan kPlan>
class LookupDot {
  using Layout = LookupLayout<W, kPlan>;
  using Packing = typename Layout::Packing;
  using Tables = LookupTables<W, kPlan>;
  static constexpr size_t kPlanes = kPlan.planes;
  static constexpr size_t kWiden = kPlan.groups_per_widening;
  // Groups between two widenings of all; those of a loop's body.
  static constexpr size_t kStepGroups = Packing::kIsByte ? kWiden : Packing::kUnitGroups;
  static constexpr size_t kStepWidenings = (kStepGroups + kWiden - 1) / kWiden;

 public:
  // dots[b * N + i] = dot of row i of block b with the inputs of `tables`, for kBlocks blocks of block_bytes from
  // `packed` on. At their end it prefetches the beginnings of the next blocks, if they are to follow.
  template <size_t kBlocks>
  static HWY_NOINLINE void Run(const uint8_t* HWY_RESTRICT packed, size_t block_bytes, bool are_followed,
                               const uint8_t* HWY_RESTRICT tables, int32_t* HWY_RESTRICT dots) {
    const size_t units = block_bytes / Layout::kUnitBytes;
    const size_t last_units = units - std::min(units, kAhead<kBlocks> / Layout::kUnitBytes);
    const size_t ahead_of_last = kAhead<kBlocks> + (are_followed ? (kBlocks - 1) * block_bytes : 0);
    size_t ahead = kAhead<kBlocks>;
    std::fill(dots, dots + kBlocks * kVectorBytes, 0);
    for (size_t unit = 0; unit < units;) {
      Wide<kBlocks> sums;
      size_t widenings = 0;
      if constexpr (Packing::kIsByte) {
        for (; unit + kStepGroups <= units && widenings + kStepWidenings <= kMaxWidenings; unit += kStepGroups) {
          if (unit >= last_units) ahead = ahead_of_last;
          Step<kBlocks, kStepGroups>(packed, block_bytes, unit, ahead, tables, sums);
          widenings += kStepWidenings;
        }
        if (unit + kStepGroups > units) {
          for (; unit < units && widenings < kMaxWidenings; ++unit, ++widenings) {
            Step<kBlocks, 1>(packed, block_bytes, unit, ahead, tables, sums);
          }
        }
      } else {
        for (; unit < units && widenings + kStepWidenings <= kMaxWidenings; ++unit) {
          if (unit >= last_units) ahead = ahead_of_last;
          Step<kBlocks, kStepGroups>(packed, block_bytes, unit, ahead, tables, sums);
          widenings += kStepWidenings;
        }
      }
      sums.AddTo(widenings, dots);
    }
  }

 private:
  // 16-bit lanes hold 255 a widening.
  static constexpr size_t kMaxWidenings = 256;
  // Of each block's stream. Measured as the layout was: 0 gives 14 GB/s, 512 18, 1024 and 2048 19, 4096 18. (AMD Zen 5,
  // ternary by INT4, one or two runs: four streams 1024 ahead 0.76 of the bandwidth, 2048 0.82, 2560 0.77.)
  template <size_t kBlocks>
  static constexpr size_t kAhead = kBlocks < 8 ? 2048 : 1024;

  template <size_t kBlocks>
  struct Wide {
    hn::Vec<DU16> pairs[kPlanes][kBlocks];  // sums of 256 * high + low
    hn::Vec<DU16> highs[kPlanes][kBlocks];  // sums of high

    HWY_INLINE Wide() {
      HWY_UNROLL(2) for (size_t p = 0; p < kPlanes; ++p) {
        HWY_UNROLL(8) for (size_t b = 0; b < kBlocks; ++b) pairs[p][b] = highs[p][b] = hn::Zero(DU16());
      }
    }
    HWY_INLINE void Add(size_t p, size_t b, hn::Vec<DI8> sum) {
      const auto pair = hn::BitCast(DU16(), sum);
      pairs[p][b] = hn::Add(pairs[p][b], pair);
      highs[p][b] = hn::Add(highs[p][b], hn::ShiftRight<8>(pair));
    }
    // dots += the sums, less the bias of so many widenings.
    HWY_INLINE void AddTo(size_t widenings, int32_t* HWY_RESTRICT dots) const {
      const DI32 d32;
      const hn::Rebind<int16_t, DI32> d16;
      const auto bias = hn::Set(DU16(), static_cast<uint16_t>(widenings * 128));
      for (size_t b = 0; b < kBlocks; ++b) {
        HWY_ALIGN uint16_t sums[kPlanes][kVectorBytes];
        for (size_t p = 0; p < kPlanes; ++p) {
          const auto high = hn::Sub(highs[p][b], bias);
          const auto low = hn::Sub(hn::Sub(pairs[p][b], hn::ShiftLeft<8>(highs[p][b])), bias);
          hn::StoreInterleaved2(low, high, DU16(), sums[p]);
        }
        int32_t* to = dots + b * kVectorBytes;
        for (size_t i = 0; i < kVectorBytes; i += hn::Lanes(d32)) {
          auto dot = hn::LoadU(d32, to + i);
          for (size_t p = 0; p < kPlanes; ++p) {
            const auto* from = reinterpret_cast<const int16_t*>(sums[p]) + i;
            auto sum = hn::PromoteTo(d32, hn::LoadU(d16, from));
            if (p == 1) sum = hn::ShiftLeftSame(sum, kPlan.digit_bits);
            dot = hn::Add(dot, sum);
          }
          hn::StoreU(dot, d32, to + i);
        }
      }
    }
  };

  // kGroups groups from a unit on, widened every kWiden and at the end.
  template <size_t kBlocks, size_t kGroups>
  static HWY_INLINE void Step(const uint8_t* HWY_RESTRICT packed, size_t block_bytes, size_t unit, size_t ahead,
                              const uint8_t* HWY_RESTRICT tables, Wide<kBlocks>& sums) {
    const uint8_t* HWY_RESTRICT units = packed + unit * Layout::kUnitBytes;
    hn::Vec<DI8> sum[kPlanes][kBlocks];
    const uint8_t* HWY_RESTRICT group_tables = tables + unit * Packing::kUnitGroups * Tables::kGroupBytes;
    [&]<size_t... kGroup>(std::index_sequence<kGroup...>) HWY_ATTR {
      (Group<kBlocks, kGroup, kGroup + 1 == kGroups>(units, block_bytes, ahead, group_tables, sum, sums), ...);
    }
    (std::make_index_sequence<kGroups>());
  }

  template <size_t kBlocks, size_t kGroup, bool kIsLast>
  static HWY_INLINE void Group(const uint8_t* HWY_RESTRICT units, size_t block_bytes, size_t ahead,
                               const uint8_t* HWY_RESTRICT tables, hn::Vec<DI8> (&sum)[kPlanes][kBlocks],
                               Wide<kBlocks>& sums) {
    constexpr size_t kUnit = kGroup / Packing::kUnitGroups;
    constexpr size_t kInUnit = kGroup % Packing::kUnitGroups;
    ByteTable<Tables::kTableBytes> table[kPlanes];
    HWY_UNROLL(2) for (size_t p = 0; p < kPlanes; ++p) {
      table[p] = ByteTable<Tables::kTableBytes>::Load(tables + kGroup * Tables::kGroupBytes + p * Tables::kTableBytes);
    }
    HWY_UNROLL(8) for (size_t b = 0; b < kBlocks; ++b) {
      const uint8_t* HWY_RESTRICT unit = units + b * block_bytes + kUnit * Layout::kUnitBytes;
      // (All of a step's at its beginning: g++ keeps fewer accumulators in registers, 5 % slower in cache.)
      if constexpr (kInUnit == 0) {
        HWY_UNROLL(8) for (size_t line = 0; line < Layout::kUnitBytes; line += 64) {
          __builtin_prefetch(unit + ahead + line);
        }
      }
      const auto index = Packing::template Index<kInUnit>(unit);
      HWY_UNROLL(2) for (size_t p = 0; p < kPlanes; ++p) {
        const auto partial = Packing::template Signed<kInUnit>(unit, table[p].Lookup(index));
        const auto before = kGroup % kWiden == 0 ? hn::Set(DI8(), int8_t{-128}) : sum[p][b];
        sum[p][b] = hn::Add(before, partial);
        if constexpr ((kGroup + 1) % kWiden == 0 || kIsLast) sums.Add(p, b, sum[p][b]);
      }
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace bitnet
HWY_AFTER_NAMESPACE();

#endif  // BITNET_BACKEND_SIMD_DOT_LOOKUP_INL_H_
