#include "bitnet/backend/cuda/matrix_layout.h"

#include <doctest/doctest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/cuda/runs.h"
#include "testing/awkward_formats.h"
#include "testing/conformance_products.h"
#include "testing/device_product.h"

namespace bitnet::testing {
namespace {

using cuda::MatrixLayout;
using cuda::PackedColumns;
using cuda::PackedRows;
using cuda::PlainRows;

// Every level, read one by one, and every step.
template <class Layout, Operand W>
void TestLayout(const char* name) {
  using F = FormatOf<W>;
  constexpr size_t kCols[] = {1, 7, 15, 16, 17, 63, 64, 65, 127, 300, 513, 1000};
  constexpr size_t kRows[] = {1, 3, 33};
  for (const size_t cols : kCols) {
    for (const size_t rows : kRows) {
      for (const StepGranularity granularity : {StepGranularity{false, 0}, {true, 0}, {true, 3}, {true, 64}}) {
        if ((granularity.group != 0) != kIsGrouped<W>) continue;
        const ProductCase c = {rows, 0, granularity, 0, Fill::kRandom};
        const auto weights = DrawWeights<F>(c, cols, cols + rows);
        DeviceMemory memory;
        const auto view = UploadMatrix<Layout>(memory, weights);
        std::vector<LevelOf<F>> levels(cols);
        size_t wrong = view.rows == rows && view.cols == cols ? 0 : 1;
        for (size_t r = 0; r < rows; ++r) {
          weights.UnpackRow(r, levels);
          for (size_t col = 0; col < cols; ++col) {
            wrong += view.Value(r, static_cast<uint32_t>(col)) == levels[col] ? 0u : 1u;
            const size_t group = weights.step_groups().Of(col);
            wrong += SameBits(view.Steps(r)[col / view.group], weights.Step(r, group)) ? 0u : 1u;
          }
        }
        CHECK_MESSAGE(wrong == 0, name << ", " << rows << "x" << cols << ", groups " << granularity.group);
      }
    }
  }
}

template <Format F>
void TestLayouts(const char* name) {
  if constexpr (cuda::kHasByteLevels<F>) {
    TestLayout<PackedRows<F>, F>(name);
    TestLayout<PackedColumns<F>, F>(name);
    TestLayout<PackedRows<Grouped<F>>, Grouped<F>>(name);
  }
  TestLayout<PlainRows<F>, F>(name);
}

TEST_CASE("Layouts of weights on a device: every value and every step is where a kernel looks for it") {
  TestLayouts<Ternary>("Ternary");
  TestLayouts<Binary>("Binary");
  TestLayouts<Int<2>>("Int<2>");
  TestLayouts<Int<3>>("Int<3>");
  TestLayouts<Int<4>>("Int<4>");
  TestLayouts<Int<5>>("Int<5>");
  TestLayouts<Int<8>>("Int<8>");
  TestLayouts<UInt<2>>("UInt<2>");
  TestLayouts<UInt<8>>("UInt<8>");
  TestLayouts<MidRise<1>>("MidRise<1>");
  TestLayouts<MidRise<3>>("MidRise<3>");
  TestLayouts<MidRise<7>>("MidRise<7>");
  TestLayouts<MidRise<8>>("MidRise<8>");
  TestLayouts<Fp4E2M1>("Fp4E2M1");
  TestLayouts<Fp4E1M2>("Fp4E1M2");
  TestLayouts<FiveLevels>("FiveLevels");
  TestLayouts<BigSteps>("BigSteps");
  TestLayouts<Squares>("Squares");
  TestLayouts<Threes>("Threes");
  TestLayouts<PowersOfTwo>("PowersOfTwo");
  TestLayouts<Lopsided>("Lopsided");
  TestLayouts<OnOff>("OnOff");
  TestLayouts<OneSided>("OneSided");
  TestLayouts<Float>("Float");
  TestLayouts<BFloat16>("BFloat16");
  TestLayouts<Float16>("Float16");
}

TEST_CASE("Layouts of weights on a device: bits a weight") {
  const auto bytes = [](auto layout, const auto& weights) {
    const auto view = decltype(layout)::Shape(weights);
    return view.bytes - weights.steps().size_bytes();
  };
  const ProductCase c = {64, 0, {true, 0}, 0, Fill::kRandom};
  const auto ternary = DrawWeights<Ternary>(c, 2560, 1);
  CHECK(bytes(PackedRows<Ternary>(), ternary) == 64 * 2560 / 4);
  CHECK(bytes(PackedColumns<Ternary>(), ternary) == 64 * 2560 / 4);
  CHECK(bytes(PlainRows<Ternary>(), ternary) == 64 * 2560);
  CHECK(bytes(PackedRows<Binary>(), DrawWeights<Binary>(c, 2560, 1)) == 64 * 2560 / 8);
  CHECK(bytes(PackedRows<Int<3>>(), DrawWeights<Int<3>>(c, 2560, 1)) == 64 * 2560 / 2);
  CHECK(bytes(PackedRows<Int<8>>(), DrawWeights<Int<8>>(c, 2560, 1)) == 64 * 2560);
  CHECK(bytes(PlainRows<BFloat16>(), DrawWeights<BFloat16>(c, 2560, 1)) == 64 * 2560 * 2);
}

TEST_CASE("Layouts of weights on a device: by format, inputs and uses") {
  CHECK(std::is_same_v<MatrixLayout<Ternary, Int<4>, Uses<Dense>>, PackedRows<Ternary>>);
  CHECK(std::is_same_v<MatrixLayout<Ternary, Int<8>, Uses<ChosenRows>>, PackedRows<Ternary>>);
  CHECK(std::is_same_v<MatrixLayout<Ternary, Int<8>, Uses<ChosenColumns>>, PackedColumns<Ternary>>);
  CHECK(std::is_same_v<MatrixLayout<Grouped<Int<4>>, Int<8>, Uses<Dense, RowLookup>>, PackedRows<Grouped<Int<4>>>>);
  CHECK(std::is_same_v<MatrixLayout<Ternary, Float, Uses<RowLookup>>, PackedRows<Ternary>>);
  CHECK(std::is_same_v<MatrixLayout<Ternary, Float, Uses<Dense>>, PlainRows<Ternary>>);
  CHECK(std::is_same_v<MatrixLayout<Ternary, UInt<8>, Uses<ChosenColumns>>, PlainRows<Ternary>>);
  CHECK(std::is_same_v<MatrixLayout<BigSteps, Int<4>, Uses<Dense>>, PlainRows<BigSteps>>);
  CHECK(std::is_same_v<MatrixLayout<BFloat16, Int<8>, Uses<ChosenColumns>>, PlainRows<BFloat16>>);
}

TEST_CASE("Runs of columns with one step, by number: those of EachCommonRun") {
  for (const uint32_t cols : {0u, 1u, 2u, 7u, 64u, 65u, 300u}) {
    for (const uint32_t w_group : {0u, 1u, 2u, 3u, 16u, 48u, 64u, 299u, 300u, 1000u}) {
      for (const uint32_t x_group : {0u, 1u, 3u, 5u, 32u, 64u, 96u, 300u}) {
        CAPTURE(cols);
        CAPTURE(w_group);
        CAPTURE(x_group);
        const auto runs = cuda::Runs::Of(cols, w_group == 0 ? cols : w_group, x_group == 0 ? cols : x_group);
        uint32_t i = 0;
        size_t wrong = 0;
        EachCommonRun({cols, w_group}, {cols, x_group}, [&](size_t begin, size_t end, size_t ws, size_t xs) {
          while (i < runs.count && runs[i].begin == runs[i].end) ++i;
          wrong += i < runs.count && runs[i].begin == begin && runs[i].end == end && begin / runs.w_group == ws &&
                           begin / runs.x_group == xs && begin % runs.Granule() == 0
                       ? 0u
                       : 1u;
          ++i;
        });
        for (; i < runs.count; ++i) wrong += runs[i].begin == runs[i].end ? 0u : 1u;
        CHECK(wrong == 0);
      }
    }
  }
}

}  // namespace
}  // namespace bitnet::testing
