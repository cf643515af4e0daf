// Codes in quads, of every width, on every target that this CPU has.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd_quad_packing_targets_test.cc"
#include "testing/targets.h"
// (targets.h chooses the targets, so it must come first.)
#include "hwy/foreach_target.h"

#include <cstddef>
#include <cstdint>
#include <utility>

#include "bitnet/backend/simd/quad_packing-inl.h"
#include "bitnet/base/random.h"

HWY_BEFORE_NAMESPACE();
namespace bitnet::HWY_NAMESPACE {

template <class Packing, size_t kQuad>
HWY_NOINLINE void ReadQuad(const uint8_t* vectors, uint8_t* codes) {
  hn::StoreU(Packing::template Codes<kQuad>(vectors), DU8(), codes);
}

}  // namespace bitnet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

namespace bitnet::HWY_NAMESPACE {

// Every code of a unit of a block of N rows is stored in bits of its own, and read back alone and by vectors.
template <size_t kBits>
size_t CountWrong() {
  using Packing = QuadPacking<kBits>;
  static_assert(Packing::kUnitBytes * 8 == kVectorBytes * Packing::kUnitCols * kBits, "no bit is left over");
  constexpr size_t kLanes = kVectorBytes / 4;
  HWY_ALIGN uint8_t unit[Packing::kUnitBytes] = {};
  uint8_t codes[kVectorBytes][Packing::kUnitCols];
  Random random(kBits);
  size_t wrong = 0;
  for (size_t r = 0; r < kVectorBytes; ++r) {
    for (size_t c = 0; c < Packing::kUnitCols; ++c) {
      codes[r][c] = static_cast<uint8_t>(UniformBelow(random, size_t{1} << kBits));
      wrong += Packing::Load(unit + Packing::Offset(r, c), c / 4) != 0;
    }
    Packing::Store(codes[r], unit + Packing::Offset(r, 0));
  }
  [&]<size_t... kQuad>(std::index_sequence<kQuad...>) {
    (
        [&] {
          for (size_t v = 0; v < 4; ++v) {
            uint8_t read[kVectorBytes];
            ReadQuad<Packing, kQuad>(unit + v * Packing::kUnitVectors * kVectorBytes, read);
            for (size_t i = 0; i < kVectorBytes; ++i) {
              const size_t r = v * kLanes + i / 4, c = kQuad * 4 + i % 4;
              wrong += read[i] != codes[r][c];
              wrong += Packing::Load(unit + Packing::Offset(r, c), kQuad) != codes[r][c];
            }
          }
        }(),
        ...);
  }
  (std::make_index_sequence<Packing::kUnitQuads>());
  return wrong;
}

TEST_CASE("QuadPacking " BITNET_TARGET_NAME
          ": one code and vectors of them are read as they were stored, of all widths") {
  if (!testing::CanRun(HWY_TARGET)) return;
  [&]<size_t... kBits>(std::index_sequence<kBits...>) {
    const size_t wrong[] = {CountWrong<kBits + 1>()...};
    for (size_t i = 0; i < sizeof...(kBits); ++i) {
      INFO("bits: " << (i + 1));
      CHECK(wrong[i] == 0);
    }
  }
  (std::make_index_sequence<8>());
}

}  // namespace bitnet::HWY_NAMESPACE
