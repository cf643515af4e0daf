// Products of weights in quads (quad_weights-inl.h) of all widths, and of long groups, on a few targets.
#define BITNET_FEW_TARGETS
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/simd_quad_products_targets_test.cc"
#include "testing/targets.h"
// (targets.h chooses the targets, so it must come first.)
#include "hwy/foreach_target.h"

#include "bitnet/backend/simd/simd_backend-inl.h"
#include "testing/conformance_products.h"

#if !defined(BITNET_TESTED_STREAMS)
#define BITNET_TESTED_STREAMS
#include <cstdlib>
#include <string>
namespace bitnet {
// (So that the tests of few and of many streams are of what they say.)
TEST_CASE("products: of few streams of memory, or of many, as the environment says") {
  const char* wanted = std::getenv("BITNET_STREAMS");
  if (wanted != nullptr) CHECK(ReadsFewStreamsBest() == (std::string(wanted) == "few"));
}
}  // namespace bitnet
#endif

namespace bitnet::HWY_NAMESPACE {

template <Operand W, Operand X>
void TestDense(const char* pair, const testing::ProductCase& c, size_t cols) {
  static_assert(SimdMatrix<W, X, Uses<Dense, RowLookup>>::kLayout == WeightLayout::kQuads);
  testing::TestUses<W, X, Uses<Dense, RowLookup>>(testing::MakeBackend<SimdBackend>(), "dense",
                                                  testing::ExpectProduct<FormatOf<W>, X>(pair, c, cols));
}

// Of one step a row, and of one for each group.
template <LevelFormat W>
void TestWidth(const char* pair) {
  for (const size_t cols : {1u, 31u, 33u, 130u, 257u}) {
    for (const testing::ProductCase& c : testing::kProductCases) TestDense<W, Int<8>>(pair, c, cols);
    TestDense<W, Int<8>>(pair, {70, 17, {true, 0}, 0, testing::Fill::kTop}, cols);
    for (testing::ProductCase c : testing::kGroupedCases) {
      c.group = 0;
      TestDense<Grouped<W>, Int<8>>(pair, c, cols);
    }
  }
}

// Groups that many tokens read in several chunks, in both layouts that are unpacked run by run.
template <LevelFormat W>
void TestLongGroups(const char* pair) {
  for (const testing::Fill fill : {testing::Fill::kTop, testing::Fill::kRandom}) {
    for (const size_t tokens : {17u, 70u}) {
      const testing::ProductCase c = {67, tokens, {true, 512}, 0, fill};
      TestDense<Grouped<W>, Int<8>>(pair, c, 1300);
      testing::TestUses<Grouped<W>, Int<8>, Uses<ChosenColumns>>(testing::MakeBackend<SimdBackend>(), "columns",
                                                                 testing::ExpectProduct<W, Int<8>>(pair, c, 1300));
    }
  }
}

TEST_CASE("SimdBackend " BITNET_TARGET_NAME ": products of quads of all widths have the bits of the reference") {
  if (!testing::CanRun(HWY_TARGET)) return;
  if constexpr (testing::ExtentOf(HWY_TARGET) == testing::Extent::kAll) {
    TestWidth<Int<3>>("Int<3> and Int<8>");
    TestWidth<Int<5>>("Int<5> and Int<8>");
    TestWidth<Int<6>>("Int<6> and Int<8>");
    TestWidth<Int<7>>("Int<7> and Int<8>");
    TestLongGroups<Int<3>>("Int<3> and Int<8>");
    TestLongGroups<Int<7>>("Int<7> and Int<8>");
    TestWidth<MidRise<4>>("MidRise<4> and Int<8>");
    TestLongGroups<MidRise<4>>("MidRise<4> and Int<8>");
  }
}

}  // namespace bitnet::HWY_NAMESPACE
