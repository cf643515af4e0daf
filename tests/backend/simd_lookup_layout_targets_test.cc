// What is packed for lookups, on every target that this CPU has.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd_lookup_layout_targets_test.cc"
#include "testing/targets.h"
// (targets.h chooses the targets, so it must come first.)
#include "hwy/foreach_target.h"

#include <utility>

#include "bitnet/backend/simd/lookup_layout-inl.h"
#include "bitnet/base/random.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet::HWY_NAMESPACE {

template <class Packing, size_t kGroup>
HWY_NOINLINE void ReadGroup(const uint8_t* unit, uint8_t* index, int8_t* fives) {
  hn::StoreU(Packing::template Index<kGroup>(unit), DU8(), index);
  hn::StoreU(Packing::template Signed<kGroup>(unit, hn::Set(DI8(), int8_t{5})), DI8(), fives);
}

}  // namespace bitnet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

namespace bitnet::HWY_NAMESPACE {

// Every group of a unit gets an index, and a sign; what vectors read are these.
template <size_t kBits, bool kMirrored>
size_t CountWrong() {
  using Packing = IndexPacking<kBits, kMirrored>;
  HWY_ALIGN uint8_t unit[Packing::kUnitVectors * kVectorBytes] = {};
  uint8_t index[Packing::kUnitGroups][kVectorBytes];
  bool sign[Packing::kUnitGroups][kVectorBytes];
  Random random(kBits);
  size_t wrong = 0;
  const auto set = [&](size_t row, typename Packing::Place at) {
    uint8_t& byte = unit[at.vector * kVectorBytes + row];
    wrong += (uint32_t{byte} >> at.bit) & 1u;  // each bit has a place of its own
    byte = static_cast<uint8_t>(byte | 1u << at.bit);
  };
  for (size_t j = 0; j < Packing::kUnitGroups; ++j) {
    for (size_t row = 0; row < kVectorBytes; ++row) {
      index[j][row] = static_cast<uint8_t>(UniformBelow(random, size_t{1} << kBits));
      sign[j][row] = kMirrored && UniformBelow(random, 2) == 1;
      for (size_t k = 0; k < kBits; ++k) {
        if ((index[j][row] >> k & 1) != 0) set(row, Packing::OfIndex(j, k));
      }
      if (sign[j][row]) set(row, Packing::OfSign(j));
    }
  }
  [&]<size_t... kGroup>(std::index_sequence<kGroup...>) {
    (
        [&] {
          uint8_t read[kVectorBytes];
          int8_t signs[kVectorBytes];
          ReadGroup<Packing, kGroup>(unit, read, signs);
          for (size_t row = 0; row < kVectorBytes; ++row) {
            // Tables of 128 entries ignore bit 7.
            wrong += (read[row] & (kBits == 7 ? 0x7f : 0xff)) != index[kGroup][row];
            wrong += signs[row] != (sign[kGroup][row] ? -5 : 5);
          }
        }(),
        ...);
  }
  (std::make_index_sequence<Packing::kUnitGroups>());
  return wrong;
}

TEST_CASE("IndexPacking " BITNET_TARGET_NAME ": vectors read the indices and signs that were stored, of all widths") {
  if (!testing::CanRun(HWY_TARGET)) return;
  [&]<size_t... kBits>(std::index_sequence<kBits...>) {
    const size_t plain[] = {CountWrong<kBits + 1, false>()...};
    const size_t mirrored[] = {CountWrong<kBits + 1, true>()...};
    for (size_t i = 0; i < sizeof...(kBits); ++i) {
      INFO("bits: " << (i + 1));
      CHECK(plain[i] == 0);
      CHECK(mirrored[i] == 0);
    }
  }
  (std::make_index_sequence<7>());
}

}  // namespace bitnet::HWY_NAMESPACE
