// TestFormat<F>(): every law that a number format obeys, for the built-in formats and for yours.
//
// After writing a format, add to a test of your own
//   TEST_CASE("FiveLevel: is a format") { TestFormat<FiveLevel>(); }
// It needs nothing but the list of levels. Checked are: the facts derived from the list; the nearest level against a
// search in double with the tie rule of docs/numerics.md; packing (round trip at every length, seeking, density, foreign
// bytes); quantizers with each scale rule; the canonical matrix and the cache; and the reference product against
// integers of 64 bits. A backend is compared with the reference elsewhere: see testing/backend_conformance.h.
#ifndef BITNET_TESTS_TESTING_TEST_FORMAT_H_
#define BITNET_TESTS_TESTING_TEST_FORMAT_H_

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include "bitnet/backend/reference.h"
#include "bitnet/format/packing.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/tensor/head_cache.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "testing/random_values.h"

namespace bitnet::testing {

// The code of the level nearest to v by its definition: the smallest distance; of two at the same distance the one an
// even number of levels away from level 0, or where 0 is no level the larger. Beyond the ends the end level.
template <LevelFormat F>
size_t NearestBySearch(double v) {
  using Traits = FormatTraits<F>;
  v = std::clamp<double>(v, F::kLevels[0] - 1, F::kLevels[Traits::kCount - 1] + 1);  // distances are exact
  std::ptrdiff_t zero = -1;
  for (size_t i = 0; i < Traits::kCount; ++i) {
    if (F::kLevels[i] == 0) zero = static_cast<std::ptrdiff_t>(i);
  }
  size_t nearest = 0;
  for (size_t i = 1; i < Traits::kCount; ++i) {
    const double here = std::fabs(v - F::kLevels[i]);
    const double there = std::fabs(v - F::kLevels[nearest]);
    const bool even = (static_cast<std::ptrdiff_t>(i) - zero) % 2 == 0;
    if (here < there || (here == there && (zero < 0 || even))) nearest = i;
  }
  return nearest;
}

// Codes that take every value, in no simple order.
template <LevelFormat F>
std::vector<uint8_t> RandomCodes(size_t n, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> codes(n);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(UniformBelow(random, FormatTraits<F>::kCount));
  return codes;
}

template <LevelFormat F>
void TestDerivedFacts() {
  using Traits = FormatTraits<F>;
  CHECK(Traits::kCount == F::kLevels.size());
  CHECK(Traits::kBottom == *std::min_element(F::kLevels.begin(), F::kLevels.end()));
  CHECK(Traits::kTop == *std::max_element(F::kLevels.begin(), F::kLevels.end()));
  CHECK((size_t{1} << Traits::kCodeBits) >= Traits::kCount);
  CHECK((size_t{1} << (Traits::kCodeBits - 1)) < Traits::kCount);
  int largest = 0;
  bool has_zero = false;
  bool symmetric = true;
  bool uniform = true;
  for (size_t i = 0; i < Traits::kCount; ++i) {
    const int level = Traits::Level(i);
    CHECK(level == F::kLevels[i]);
    CHECK(CodeOfLevel<F>(level) == i);
    CHECK(static_cast<int>(static_cast<LevelOf<F>>(level)) == level);
    largest = std::max(largest, std::abs(level));
    has_zero = has_zero || level == 0;
    symmetric = symmetric && std::count(F::kLevels.begin(), F::kLevels.end(), -level) == 1;
    uniform = uniform && level == Traits::kBottom + static_cast<int>(i) * (Traits::Level(1) - Traits::kBottom);
  }
  CHECK(Traits::kMaxMagnitude == largest);
  CHECK(Traits::kHasZero == has_zero);
  CHECK(Traits::kIsSymmetric == symmetric);
  CHECK(Traits::kIsUniform == uniform);
  CHECK(Traits::kZeroCode == NearestBySearch<F>(0.0));
  CHECK(Traits::kZeroLevel == Traits::Level(Traits::kZeroCode));
  // No smaller integer would hold the levels.
  if constexpr (sizeof(LevelOf<F>) > 1) CHECK((Traits::kTop > 255 || Traits::kBottom < -128 ||
                                              (Traits::kTop > 127 && Traits::kBottom < 0)));
}

template <LevelFormat F>
void TestNearestLevel() {
  using Traits = FormatTraits<F>;
  const auto check = [](float v) {
    const size_t expected = NearestBySearch<F>(static_cast<double>(v));
    if (NearestCode<F>(v) != expected || NearestLevel<F>(v) != Traits::Level(expected)) {
      FAIL_CHECK("nearest to " << v << " is " << Traits::Level(expected) << ", not " << NearestLevel<F>(v));
    }
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float v : {0.0f, -0.0f, FLT_MIN, -FLT_MIN, 1e30f, -1e30f, FLT_MAX, -FLT_MAX, kInfinity, -kInfinity}) {
    check(v);
  }
  for (size_t i = 0; i < Traits::kCount; ++i) {
    const auto level = static_cast<float>(Traits::Level(i));
    CHECK(NearestCode<F>(level) == i);
    if (i + 1 == Traits::kCount) break;
    // The tie, and the floats beside it.
    const float tie = (level + static_cast<float>(Traits::Level(i + 1))) / 2.0f;
    check(tie);
    check(std::nextafter(tie, kInfinity));
    check(std::nextafter(tie, -kInfinity));
  }
  for (int i = -1000; i <= 1000; ++i) check(static_cast<float>(i) * (1.25e-3f * Traits::kMaxMagnitude));
  for (const float v : NormalValues(1000, 1, 0.5f * Traits::kMaxMagnitude)) check(v);
}

template <LevelFormat F>
void TestPacking() {
  using Traits = FormatTraits<F>;
  using P = Packing<F>;
  // Density: whole codes in whole bytes, less than one bit a value above what information needs.
  CHECK(P::kBitsPerValue == 8.0 * P::kUnitBytes / P::kUnitCodes);
  CHECK(P::kBitsPerValue >= std::log2(static_cast<double>(Traits::kCount)) - 1e-12);
  CHECK(P::kBitsPerValue <= Traits::kCodeBits);
  CHECK(P::Bytes(0) == 0);
  CHECK(P::Bytes(P::kUnitCodes * 1000) == P::kUnitBytes * 1000);

  constexpr uint8_t kCanary = 0xa5;
  for (size_t n = 0; n <= 70; ++n) {
    CAPTURE(n);
    const size_t bytes = P::Bytes(n);
    CHECK(bytes * P::kUnitCodes >= n * P::kUnitBytes);
    CHECK((bytes == 0 || (bytes - P::kUnitBytes) * P::kUnitCodes < n * P::kUnitBytes));
    const std::vector<uint8_t> codes = RandomCodes<F>(n, 7 + n);
    std::vector<uint8_t> packed(bytes + 4, kCanary);
    P::Pack(codes, packed);
    for (size_t i = bytes; i < packed.size(); ++i) CHECK(packed[i] == kCanary);
    CHECK(P::Valid(packed, n));
    CHECK(P::Valid(std::span(packed).first(bytes), n));
    if (bytes > 0) CHECK_FALSE(P::Valid(std::span(packed).first(bytes - 1), n));

    // Unpack(Pack(codes)) == codes, from every offset and for every count; At agrees.
    bool same = true;
    for (size_t first = 0; first <= n; ++first) {
      for (const size_t count : {n - first, (n - first) / 2, std::min<size_t>(n - first, 1)}) {
        std::vector<uint8_t> unpacked(count + 2, kCanary);
        P::Unpack(packed.data(), first, std::span(unpacked).first(count));
        same = same && unpacked[count] == kCanary && unpacked[count + 1] == kCanary;
        std::vector<LevelOf<F>> levels(count);
        P::UnpackLevels(packed.data(), first, levels);
        for (size_t i = 0; i < count; ++i) {
          same = same && unpacked[i] == codes[first + i] && levels[i] == Traits::Level(codes[first + i]);
        }
      }
      same = same && (first == n || P::At(packed.data(), first) == codes[first]);
    }
    if (!same) FAIL_CHECK("what is unpacked is not what was packed");
    // The rest of the last unit is zero codes.
    for (size_t i = n; i < bytes / P::kUnitBytes * P::kUnitCodes; ++i) {
      CHECK(P::At(packed.data(), i) == Traits::kZeroCode);
    }
  }

  // Foreign bytes: every code that comes out has a level; Valid tells exactly whether Pack could have made the bytes.
  Random random(11);
  const size_t n = 4 * P::kUnitCodes;
  for (int repetition = 0; repetition < 600; ++repetition) {
    std::vector<uint8_t> bytes(P::Bytes(n));
    for (uint8_t& byte : bytes) {
      byte = repetition < 256 ? static_cast<uint8_t>(repetition) : static_cast<uint8_t>(random() >> 20);
    }
    std::vector<uint8_t> codes(n);
    std::vector<LevelOf<F>> levels(n);
    P::Unpack(bytes.data(), 0, codes);
    P::UnpackLevels(bytes.data(), 0, levels);
    bool in_bounds = true;
    for (size_t i = 0; i < n; ++i) {
      in_bounds = in_bounds && codes[i] < Traits::kCount && P::At(bytes.data(), i) == codes[i];
      in_bounds = in_bounds && levels[i] == Traits::Level(std::min<size_t>(codes[i], Traits::kCount - 1));
    }
    std::vector<uint8_t> again(bytes.size());
    if (in_bounds) P::Pack(codes, again);
    if (!in_bounds || (again == bytes) != P::Valid(bytes, n)) FAIL_CHECK("foreign bytes, repetition " << repetition);
  }
}

template <LevelFormat F, class Rule>
void TestQuantizer() {
  using Traits = FormatTraits<F>;
  using Q = Quantizer<F, Rule>;
  for (const size_t n : kSizes) {
    for (const uint64_t seed : {1u, 2u, 3u}) {
      CAPTURE(n);
      CAPTURE(seed);
      const std::vector<float> x = seed == 1   ? NormalValues(n, n)
                                   : seed == 2 ? SpreadValues(n, n)
                                               : FewValues(n, n);
      std::vector<LevelOf<F>> levels(n);
      const float step = Q::Quantize(x, levels.data());
      CHECK(step == Q::Step(x));
      REQUIRE(step >= 0.0f);
      std::vector<float> y(n);
      CHECK(Q::FakeQuantize(x, y.data()) == step);
      double squares = 0.0;
      double largest = 0.0;
      bool well = true;
      for (size_t i = 0; i < n; ++i) {
        const float v = step > 0.0f ? x[i] * (1.0f / step) : 0.0f;
        well = well && levels[i] == Traits::Level(NearestBySearch<F>(static_cast<double>(v)));
        well = well && y[i] == step * static_cast<float>(levels[i]);
        const double error = static_cast<double>(step) * levels[i] - static_cast<double>(x[i]);
        squares += error * error;
        largest = std::max(largest, std::fabs(error));
      }
      if (!well) FAIL_CHECK("levels or values are wrong");
      const QuantizationError error = Q::Error(x);
      CHECK(error.max == largest);
      CHECK(error.mean_squared == doctest::Approx(squares / static_cast<double>(n)).epsilon(1e-12));

      // In place.
      std::vector<float> same = x;
      Q::FakeQuantize(same, same.data());
      CHECK(same == y);

      // Powers of two scale the step and nothing else.
      for (const int k : {-40, -1, 3, 40}) {
        std::vector<float> scaled(n);
        for (size_t i = 0; i < n; ++i) scaled[i] = std::ldexp(x[i], k);
        std::vector<LevelOf<F>> scaled_levels(n);
        CHECK(Q::Quantize(scaled, scaled_levels.data()) == std::ldexp(step, k));
        CHECK(scaled_levels == levels);
      }
    }
  }

  // Nothing but zeros, and a span that cannot be quantized: the level nearest to zero.
  std::vector<LevelOf<F>> levels(5);
  const auto all_zero_level = [&] {
    return std::all_of(levels.begin(), levels.end(), [](auto level) { return level == Traits::kZeroLevel; });
  };
  CHECK(Q::Quantize(std::vector<float>(5, 0.0f), levels.data()) == 0.0f);
  CHECK(all_zero_level());
  for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
    const std::vector<float> x = {1.0f, bad, -2.0f, 0.5f, 0.0f};
    levels.assign(5, LevelOf<F>{});
    CHECK(std::isnan(Q::Quantize(x, levels.data())));
    CHECK(all_zero_level());
    std::vector<float> y(5);
    CHECK(std::isnan(Q::FakeQuantize(x, y.data())));
    CHECK(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }));
    CHECK(std::isnan(Q::Error(x).max));
    CHECK(std::isnan(Q::Error(x).mean_squared));
  }
  CHECK(Q::Step({}) == 0.0f);
}

// levels [rows, cols] of a matrix that was quantized from `weights` with Q, and the packed ones.
template <LevelFormat F>
void TestStorage() {
  using Traits = FormatTraits<F>;
  using Q = Quantizer<F, AbsMean, PerRow>;
  for (const size_t cols : kSizes) {
    CAPTURE(cols);
    const size_t rows = 3;
    const std::vector<float> weights = NormalValues(rows * cols, cols);
    const auto matrix = QuantizedMatrix<F>::template From<Q>(MatrixView<const float>(weights.data(), rows, cols));
    CHECK(matrix.IsValid());
    CHECK(matrix.StoredBytes() == rows * (Packing<F>::Bytes(cols) + sizeof(float)));
    for (size_t r = 0; r < rows; ++r) {
      const std::span<const float> row = std::span(weights).subspan(r * cols, cols);
      std::vector<LevelOf<F>> expected(cols);
      std::vector<LevelOf<F>> levels(cols);
      std::vector<float> values(cols);
      std::vector<float> fake(cols);
      CHECK(Q::Quantize(row, expected.data()) == matrix.Step(r, 0));
      matrix.UnpackRow(r, levels);
      CHECK(levels == expected);
      matrix.DequantizeRow(r, values);
      Q::FakeQuantize(row, fake.data());
      CHECK(values == fake);
    }
  }

  const size_t dim = 20;
  HeadCache<F> cache(2, dim, 3);
  std::vector<std::vector<LevelOf<F>>> stored;
  for (size_t i = 0; i < 6; ++i) {
    std::vector<LevelOf<F>> levels(dim);
    const std::vector<uint8_t> codes = RandomCodes<F>(dim, i);
    for (size_t c = 0; c < dim; ++c) levels[c] = static_cast<LevelOf<F>>(Traits::Level(codes[c]));
    cache.template Store<F>(i / 3, i % 3, levels.data(), static_cast<float>(i) + 0.5f);
    stored.push_back(levels);
  }
  for (size_t i = 0; i < 6; ++i) {
    std::vector<LevelOf<F>> levels(dim);
    cache.template Load<F>(i / 3, i % 3, levels);
    CHECK(levels == stored[i]);
    CHECK(cache.Step(i / 3, i % 3) == static_cast<float>(i) + 0.5f);
  }
}

// y = float(double(dot) * double(w_step * x_step)), the dot product being exact: with weights of F and inputs of X.
template <LevelFormat F, LevelFormat X>
void TestReferenceProduct() {
  if (!DotFits<F, X>(130)) return;
  SequentialExecutor executor;
  const ReferenceBackend backend(executor);
  for (const size_t cols : {size_t{1}, size_t{17}, size_t{130}}) {
    CAPTURE(cols);
    const size_t rows = 4;
    const size_t tokens = 2;
    const std::vector<float> w = NormalValues(rows * cols, cols);
    const std::vector<float> x = NormalValues(tokens * cols, cols + 1);
    const auto matrix = QuantizedMatrix<F>::template From<Quantizer<F, AbsMean>>({w.data(), rows, cols});
    const auto prepared = backend.template Prepare<X>(matrix, Access::kDense);
    QuantizedTokens<X> inputs;
    backend.template Quantize<Quantizer<X, AbsMax>>({x.data(), tokens, cols}, inputs);
    std::vector<float> y(tokens * rows);
    backend.MatMul(prepared, inputs, MatrixView<float>(y.data(), tokens, rows));
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t r = 0; r < rows; ++r) {
        std::vector<LevelOf<F>> levels(cols);
        matrix.UnpackRow(r, levels);
        int64_t dot = 0;
        for (size_t c = 0; c < cols; ++c) dot += int64_t{levels[c]} * int64_t{inputs.Row(t)[c]};
        const float scale = matrix.Step(r, 0) * inputs.Step(t, 0);
        CHECK(y[t * rows + r] == static_cast<float>(static_cast<double>(dot) * static_cast<double>(scale)));
      }
    }
  }
}

// All of it.
template <LevelFormat F>
void TestFormat() {
  TestDerivedFacts<F>();
  TestNearestLevel<F>();
  TestPacking<F>();
  TestQuantizer<F, AbsMean>();
  TestQuantizer<F, AbsMeanTimes<2>>();
  TestQuantizer<F, AbsMax>();
  TestQuantizer<F, MinMax>();
  TestStorage<F>();
  TestReferenceProduct<F, Int<4>>();
  TestReferenceProduct<Ternary, F>();
  TestReferenceProduct<F, F>();
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_TEST_FORMAT_H_
