#include "bitnet/backend/simd/lookup_plan.h"

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "testing/awkward_formats.h"

namespace bitnet::testing {
namespace {

struct CpuClass {
  const char* name;
  size_t table_entries;
};
constexpr CpuClass kClasses[] = {{"AVX-512 VBMI", 128}, {"NEON", 32}, {"AVX2, SSSE3, emulated", 16}};

TEST_CASE("PlanProduct: no accumulator can overflow, and the table fits, for every pair and size of table") {
  const auto check = []<class W, class X>() {
    for (size_t entries = 0; entries <= 128; ++entries) {
      const LookupPlan plan = PlanProduct<W, X>(entries);
      if (plan.method != ProductMethod::kLookup) continue;
      INFO(Describe(plan) << " with " << entries);
      size_t combinations = 1;
      for (size_t i = 0; i < plan.group; ++i) combinations *= FormatTraits<W>::kCount;
      CHECK(plan.entries <= entries);
      CHECK(plan.entries * (plan.mirrored ? 2 : 1) >= combinations);
      CHECK((size_t{1} << plan.index_bits) >= plan.entries);
      CHECK(plan.StoredBits() <= 8);
      const int partial = static_cast<int>(plan.group) * FormatTraits<W>::kMaxMagnitude * plan.max_digit;
      CHECK(partial * static_cast<int>(plan.groups_per_widening) <= 127);
      for (const int x : X::kLevels) {
        const int half = plan.planes == 1 ? 0 : 1 << (plan.digit_bits - 1);
        const int high = plan.planes == 1 ? 0 : (x + half) >> plan.digit_bits;
        CHECK(high <= plan.max_digit);
        CHECK(-high <= plan.max_digit);
        CHECK(x - (high << plan.digit_bits) <= plan.max_digit);
        CHECK((high << plan.digit_bits) - x <= plan.max_digit);
      }
    }
  };
  const auto check_inputs = [&]<class W>() {
    check.template operator()<W, Int<3>>();
    check.template operator()<W, Int<4>>();
    check.template operator()<W, Fp4E2M1>();
    check.template operator()<W, Fp4E1M2>();
    check.template operator()<W, Int<8>>();
    check.template operator()<W, UInt<8>>();
    check.template operator()<W, Squares>();
    check.template operator()<W, OneSided>();
  };
  check_inputs.template operator()<Ternary>();
  check_inputs.template operator()<Binary>();
  check_inputs.template operator()<Int<2>>();
  check_inputs.template operator()<FiveLevels>();
  check_inputs.template operator()<MidRise<3>>();
  check_inputs.template operator()<Int<4>>();
  check_inputs.template operator()<PowersOfTwo>();
  check_inputs.template operator()<OneSided>();
}

TEST_CASE("PlanProduct: ternary weights, by hand") {
  constexpr LookupPlan kVbmi = PlanProduct<Ternary, Int<4>>(128);
  static_assert(kVbmi.method == ProductMethod::kLookup && kVbmi.group == 5 && kVbmi.entries == 122 && kVbmi.mirrored);
  static_assert(kVbmi.StoredBits() == 8 && kVbmi.planes == 1 && kVbmi.groups_per_widening == 3);  // 3 * 5 * 8 = 120
  static_assert(PlanProduct<Ternary, Fp4E2M1>(128).groups_per_widening == 2);                     // 2 * 5 * 12 = 120
  static_assert(PlanProduct<Ternary, Int<8>>(128).planes == 2);
  static_assert(PlanProduct<Ternary, Int<4>>(16).group == 3 && PlanProduct<Ternary, Int<4>>(16).entries == 14);
  static_assert(PlanProduct<Ternary, Int<4>>(32).group == 3 && !PlanProduct<Ternary, Int<4>>(32).mirrored);
  static_assert(PlanProduct<Ternary, Int<4>>(0).method == ProductMethod::kIntegerDot);
  static_assert(PlanProduct<Int<4>, Int<4>>(128).method == ProductMethod::kIntegerDot);
  static_assert(PlanProduct<BigSteps, Int<4>>(128).method == ProductMethod::kIntegerDot);
  static_assert(PlanProduct<Ternary, BigSteps>(128).method == ProductMethod::kIntegerDot);
  static_assert(PlanProduct<Ternary, Float>(128).method == ProductMethod::kFloat);
  CHECK(Describe(kVbmi) ==
        "lookup: 5 weights an index, 122 entries mirrored, 1.60 bits a weight, 1 byte plane, widened every 3");
  CHECK(Describe(PlanProduct<Ternary, Int<4>>(0)) == "integer dot product");
  CHECK(Describe(PlanProduct<Ternary, Float>(128)) == "float: sums in double");
}

struct SixLevels {
  static constexpr auto kLevels = std::array{-3, -2, -1, 0, 1, 2};
};
struct SevenLevels {
  static constexpr auto kLevels = std::array{-3, -2, -1, 0, 1, 2, 3};
};
struct NineLevels {
  static constexpr auto kLevels = std::array{-4, -3, -2, -1, 0, 1, 2, 3, 4};
};

template <Operand W, Operand X>
constexpr bool LooksUp(size_t entries) {
  return PlanProduct<W, X>(entries).method == ProductMethod::kLookup;
}

TEST_CASE("PlanProduct: lookups where they are faster in cache than dot products, as measured") {
  static_assert(LooksUp<Ternary, Int<8>>(128) && LooksUp<FiveLevels, Int<8>>(128));
  static_assert(LooksUp<SixLevels, Int<4>>(128) && LooksUp<SevenLevels, Int<4>>(128));
  static_assert(LooksUp<Int<3>, Int<4>>(128) && LooksUp<MidRise<3>, Int<4>>(128) && LooksUp<MidRise<2>, Int<4>>(128));
  static_assert(!LooksUp<NineLevels, Int<4>>(128) && !LooksUp<Int<2>, Int<8>>(128));
  static_assert(LooksUp<Ternary, Int<8>>(16) && LooksUp<FiveLevels, Int<8>>(16) && LooksUp<Int<2>, Int<5>>(16));
  static_assert(LooksUp<Int<3>, Int<4>>(16) && LooksUp<MidRise<3>, Int<4>>(16) && LooksUp<SevenLevels, Int<4>>(16));
  static_assert(!LooksUp<NineLevels, Int<4>>(16) && !LooksUp<Int<2>, Int<8>>(16));
}

TEST_CASE("PlanProduct: operands with steps for groups of columns are multiplied by dot products") {
  static_assert(PlanProduct<Grouped<Ternary>, Int<4>>(128).method == ProductMethod::kIntegerDot);
  static_assert(PlanProduct<Ternary, Grouped<Int<4>>>(128).method == ProductMethod::kIntegerDot);
  static_assert(PlanProduct<Grouped<Ternary>, Float>(128).method == ProductMethod::kFloat);
}

// The rows of docs/kernels.md for a pair of formats.
template <Format W, Format X>
std::string Rows(const std::string& pair) {
  std::string rows;
  for (const CpuClass& c : kClasses) {
    rows += "| " + pair + " | " + c.name + " | " + Describe(PlanProduct<W, X>(c.table_entries)) + " |\n";
  }
  return rows;
}

template <Format W>
std::string RowsOfInputs(const std::string& weights) {
  return Rows<W, Int<3>>(weights + " x `Int<3>`") + Rows<W, Int<4>>(weights + " x `Int<4>`") +
         Rows<W, Fp4E2M1>(weights + " x `Fp4E2M1`") + Rows<W, Fp4E1M2>(weights + " x `Fp4E1M2`") +
         Rows<W, Int<8>>(weights + " x `Int<8>`");
}

// To write it: BITNET_WRITE_DOCS=1 build/release/tests/backend_test -tc='*table*'
TEST_CASE("PlanProduct: the table in docs/kernels.md is what is computed") {
  const std::string table =
      "| weights x inputs | CPU | plan |\n|---|---|---|\n" + RowsOfInputs<Ternary>("`Ternary`") +
      RowsOfInputs<Binary>("`Binary`") + RowsOfInputs<Int<2>>("`Int<2>`") + RowsOfInputs<FiveLevels>("five levels") +
      Rows<SixLevels, Int<4>>("six levels x `Int<4>`") + Rows<SevenLevels, Int<4>>("seven levels x `Int<4>`") +
      Rows<Int<3>, Int<4>>("`Int<3>` x `Int<4>`") + Rows<MidRise<3>, Int<4>>("`MidRise<3>` x `Int<4>`") +
      Rows<NineLevels, Int<4>>("nine levels x `Int<4>`") + RowsOfInputs<Int<4>>("`Int<4>`");
  const std::string path = std::string(BITNET_SOURCE_DIR) + "/docs/kernels.md";
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  std::string doc = text.str();
  const std::string begin_mark = "<!-- plans -->\n";
  const size_t begin = doc.find(begin_mark);
  const size_t end = doc.find("<!-- end of plans -->");
  REQUIRE(begin != std::string::npos);
  REQUIRE(end != std::string::npos);
  const size_t first = begin + begin_mark.size();
  if (std::getenv("BITNET_WRITE_DOCS") != nullptr) {
    doc.replace(first, end - first, table);
    std::ofstream(path) << doc;
    return;
  }
  CHECK(doc.substr(first, end - first) == table);
}

}  // namespace
}  // namespace bitnet::testing
