// TestFormat<F>(): every law that a number format obeys, for the built-in formats and for yours.
//
// After writing a format, add to a test of your own
//   TEST_CASE("FiveLevel: is a format") { TestFormat<FiveLevel>(); }
// It needs nothing but the list of levels. Checked are: the facts derived from the list; the nearest level against a
// search in double with the tie rule of docs/numerics.md; packing (round trip at every length, seeking, density,
// foreign bytes); quantizers with each scale rule; the canonical matrix and the cache; and the reference product
// against integers of 64 bits. A backend is compared with the reference elsewhere: see testing/backend_conformance.h.
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
#include <string>
#include <type_traits>
#include <vector>

#include "bitnet/backend/reference_operations.h"
#include "bitnet/format/packing.h"
#include "bitnet/quant/quantizer.h"
#include "bitnet/tensor/quantized_heads.h"
#include "bitnet/tensor/quantized_matrix.h"
#include "testing/random_values.h"

namespace bitnet::testing {

// One law at one place. (A function, so that the compiler need not expand doctest's macros for each format.)
inline void Law(bool holds, const char* law, double at = 0.0) {
  if (!holds) FAIL_CHECK("broken, at " << at << ": " << std::string(law));
}

// The code of the level nearest to v by its definition: the smallest distance; of two at the same distance the one an
// even number of levels away from level 0, or where 0 is no level the larger. Beyond the ends the end level.
template <LevelFormat F>
size_t NearestBySearch(double v) {
  using Traits = FormatTraits<F>;
  std::ptrdiff_t zero = -1;
  for (size_t i = 0; i < Traits::kCount; ++i) {
    if (F::kLevels[i] == 0) zero = static_cast<std::ptrdiff_t>(i);
  }
  size_t nearest = 0;
  for (size_t i = 1; i < Traits::kCount; ++i) {
    // Level i is above that of `nearest`: nearer to v if v is above the middle, which is exact in double.
    const double twice_middle = static_cast<double>(F::kLevels[i]) + F::kLevels[nearest];
    const bool even = (static_cast<std::ptrdiff_t>(i) - zero) % 2 == 0;
    if (2.0 * v > twice_middle || (2.0 * v == twice_middle && (zero < 0 || even))) nearest = i;
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
  Law(Traits::kCount == F::kLevels.size(), "as many codes as levels");
  Law(Traits::kBottom == *std::min_element(F::kLevels.begin(), F::kLevels.end()), "the bottom is the least level");
  Law(Traits::kTop == *std::max_element(F::kLevels.begin(), F::kLevels.end()), "the top is the greatest level");
  Law((size_t{1} << Traits::kCodeBits) >= Traits::kCount, "code bits hold every code");
  Law((size_t{1} << (Traits::kCodeBits - 1)) < Traits::kCount, "no fewer bits hold every code");
  int largest = 0;
  bool has_zero = false;
  bool symmetric = true;
  bool uniform = true;
  for (size_t i = 0; i < Traits::kCount; ++i) {
    const int level = Traits::Level(i);
    Law(level == F::kLevels[i], "Level(code) is of the list", level);
    Law(CodeOfLevel<F>(level) == i, "CodeOfLevel(Level(code)) == code", level);
    Law(static_cast<int>(static_cast<LevelOf<F>>(level)) == level, "LevelOf holds every level", level);
    largest = std::max(largest, std::abs(level));
    has_zero = has_zero || level == 0;
    symmetric = symmetric && std::count(F::kLevels.begin(), F::kLevels.end(), -level) == 1;
    uniform = uniform && level == Traits::kBottom + static_cast<int>(i) * (Traits::Level(1) - Traits::kBottom);
  }
  Law(Traits::kMaxMagnitude == largest, "the largest magnitude");
  Law(Traits::kHasZero == has_zero, "whether 0 is a level");
  Law(Traits::kIsSymmetric == symmetric, "whether levels are symmetric about zero");
  Law(Traits::kIsUniform == uniform, "whether levels are equally far apart");
  Law(Traits::kZeroCode == NearestBySearch<F>(0.0), "the zero code is that of the level nearest to 0");
  Law(Traits::kZeroLevel == Traits::Level(Traits::kZeroCode), "the zero level is that of the zero code");
  const bool fits_signed = Traits::kBottom >= -128 && Traits::kTop <= 127;
  const bool fits_unsigned = Traits::kBottom >= 0 && Traits::kTop <= 255;
  Law((sizeof(LevelOf<F>) == 1) == (fits_signed || fits_unsigned), "levels take a byte where they fit one");
}

template <LevelFormat F>
void TestNearestLevel() {
  using Traits = FormatTraits<F>;
  const auto check = [](float v) {
    const size_t expected = NearestBySearch<F>(static_cast<double>(v));
    Law(NearestCode<F>(v) == expected, "the nearest code, by search", static_cast<double>(v));
    Law(NearestLevel<F>(v) == Traits::Level(expected), "the nearest level", static_cast<double>(v));
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float v : {0.0f, -0.0f, FLT_MIN, -FLT_MIN, 1e30f, -1e30f, FLT_MAX, -FLT_MAX, kInfinity, -kInfinity}) {
    check(v);
  }
  for (size_t i = 0; i < Traits::kCount; ++i) {
    const auto level = static_cast<float>(Traits::Level(i));
    Law(NearestCode<F>(level) == i, "a level is nearest to itself", static_cast<double>(level));
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
  Law(P::kBitsPerValue == 8.0 * P::kUnitBytes / P::kUnitCodes, "density is that of a unit");
  Law(P::kBitsPerValue >= std::log2(static_cast<double>(Traits::kCount)) - 1e-12, "no less than information needs");
  Law(P::kBitsPerValue <= Traits::kCodeBits, "no more than the bits of a code");
  Law(P::Bytes(0) == 0, "nothing takes no bytes");
  Law(P::Bytes(P::kUnitCodes * 1000) == P::kUnitBytes * 1000, "whole units");

  constexpr uint8_t kCanary = 0xa5;
  for (size_t n = 0; n <= 70; ++n) {
    const auto at = static_cast<double>(n);
    const size_t bytes = P::Bytes(n);
    Law(bytes * P::kUnitCodes >= n * P::kUnitBytes, "enough bytes", at);
    Law(bytes == 0 || (bytes - P::kUnitBytes) * P::kUnitCodes < n * P::kUnitBytes, "not a unit too many", at);
    const std::vector<uint8_t> codes = RandomCodes<F>(n, 7 + n);
    std::vector<uint8_t> packed(bytes + 4, kCanary);
    P::Pack(codes, packed);
    for (size_t i = bytes; i < packed.size(); ++i) Law(packed[i] == kCanary, "Pack writes Bytes(n) bytes", at);
    std::vector<LevelOf<F>> levels_of_codes(n);
    for (size_t i = 0; i < n; ++i) levels_of_codes[i] = static_cast<LevelOf<F>>(Traits::Level(codes[i]));
    std::vector<uint8_t> of_levels(packed.size(), kCanary);
    P::PackLevels(levels_of_codes, of_levels);
    Law(of_levels == packed, "PackLevels gives the bytes of Pack", at);
    Law(P::Valid(packed, n), "what Pack made is valid", at);
    Law(P::Valid(std::span(packed).first(bytes), n), "what Pack made is valid, without more bytes", at);
    Law(bytes == 0 || !P::Valid(std::span(packed).first(bytes - 1), n), "a byte less is not valid", at);

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
    Law(same, "Unpack(Pack(codes)) == codes from every position, and At agrees", at);
    for (size_t i = n; i < bytes / P::kUnitBytes * P::kUnitCodes; ++i) {
      Law(P::At(packed.data(), i) == Traits::kZeroCode, "the rest of the last unit is zero codes", at);
    }
  }

  // Foreign bytes.
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
    Law(in_bounds, "every code that comes out of foreign bytes has a level", repetition);
    std::vector<uint8_t> again(bytes.size());
    if (in_bounds) P::Pack(codes, again);
    Law((again == bytes) == P::Valid(bytes, n), "Valid tells whether Pack could have made the bytes", repetition);
  }
}

template <LevelFormat F, class Rule>
void TestQuantizer() {
  using Traits = FormatTraits<F>;
  using Q = Quantizer<F, Rule>;
  for (const size_t n : kSizes) {
    for (const int kind : {1, 2, 3}) {
      const auto at = static_cast<double>(n);
      const std::vector<float> x = kind == 1 ? NormalValues(n, n) : kind == 2 ? SpreadValues(n, n) : FewValues(n, n);
      std::vector<LevelOf<F>> levels(n);
      const float step = Q::Quantize(x, levels.data());
      Law(step >= 0.0f && step == Q::Step(x), "Quantize returns the step", at);
      std::vector<float> y(n);
      Law(Q::FakeQuantize(x, y.data()) == step, "FakeQuantize returns the step", at);
      double squares = 0.0;
      double largest = 0.0;
      bool nearest = true;
      bool products = true;
      for (size_t i = 0; i < n; ++i) {
        const float v = step > 0.0f ? x[i] * (1.0f / step) : 0.0f;
        nearest = nearest && levels[i] == Traits::Level(NearestBySearch<F>(static_cast<double>(v)));
        products = products && y[i] == step * static_cast<float>(levels[i]);
        const double error = static_cast<double>(step) * levels[i] - static_cast<double>(x[i]);
        squares += error * error;
        largest = std::max(largest, std::fabs(error));
      }
      Law(nearest, "each level is the nearest to x * (1 / step)", at);
      Law(products, "FakeQuantize == step * level", at);
      const QuantizationError error = Q::Error(x);
      Law(error.max == largest, "the largest error", at);
      Law(std::fabs(error.mean_squared * at - squares) <= 1e-12 * squares, "the mean squared error", at);

      std::vector<float> same = x;
      Q::FakeQuantize(same, same.data());
      Law(same == y, "FakeQuantize in place", at);

      for (const int k : {-40, -1, 3, 40}) {
        std::vector<float> scaled(n);
        for (size_t i = 0; i < n; ++i) scaled[i] = std::ldexp(x[i], k);
        std::vector<LevelOf<F>> scaled_levels(n);
        const float scaled_step = Q::Quantize(scaled, scaled_levels.data());
        Law(scaled_step == std::ldexp(step, k) && scaled_levels == levels,
            "a power of two scales the step, exactly, and nothing else", at);
      }
    }
  }

  // Nothing but zeros, and spans that cannot be quantized.
  std::vector<LevelOf<F>> levels(5);
  const auto all_zero_level = [&] {
    return std::all_of(levels.begin(), levels.end(), [](auto level) { return level == Traits::kZeroLevel; });
  };
  Law(Q::Quantize(std::vector<float>(5, 0.0f), levels.data()) == 0.0f, "zeros have step 0");
  Law(all_zero_level(), "zeros have the zero level");
  Law(Q::Step({}) == 0.0f, "no values have step 0");
  for (const float bad : {NAN, -NAN, INFINITY, -INFINITY}) {
    const std::vector<float> x = {1.0f, bad, -2.0f, 0.5f, 0.0f};
    levels.assign(5, LevelOf<F>{});
    Law(std::isnan(Q::Quantize(x, levels.data())), "a NaN or an infinity makes the step NaN");
    Law(all_zero_level(), "... and all levels that nearest to zero");
    std::vector<float> y(5);
    Law(std::isnan(Q::FakeQuantize(x, y.data())), "... the step of FakeQuantize too");
    Law(std::all_of(y.begin(), y.end(), [](float v) { return std::isnan(v); }), "... and all values NaN");
    Law(std::isnan(Q::Error(x).max) && std::isnan(Q::Error(x).mean_squared), "... and the error NaN");
  }
}

// The canonical matrix and the cache give back what they were given.
template <LevelFormat F>
void TestStorage() {
  using Traits = FormatTraits<F>;
  using Q = Quantizer<F, AbsMean, PerRow>;
  for (const size_t cols : kSizes) {
    const auto at = static_cast<double>(cols);
    const size_t rows = 3;
    const std::vector<float> weights = NormalValues(rows * cols, cols);
    const auto matrix = QuantizedMatrix<F>::template Quantize<Q>(MatrixView<const float>(weights.data(), rows, cols));
    Law(matrix.IsValid(), "a quantized matrix is valid", at);
    Law(matrix.StoredBytes() == rows * (Packing<F>::Bytes(cols) + sizeof(float)), "StoredBytes", at);
    for (size_t r = 0; r < rows; ++r) {
      const std::span<const float> row = std::span(weights).subspan(r * cols, cols);
      std::vector<LevelOf<F>> expected(cols);
      std::vector<LevelOf<F>> levels(cols);
      std::vector<float> values(cols);
      std::vector<float> fake(cols);
      Law(Q::Quantize(row, expected.data()) == matrix.Step(r, 0), "a row's step", at);
      matrix.UnpackRow(r, levels);
      Law(levels == expected, "a row's levels", at);
      matrix.DequantizeRow(r, values);
      Q::FakeQuantize(row, fake.data());
      Law(values == fake, "DequantizeRow == FakeQuantize", at);
    }
  }

  const size_t dim = 20;
  QuantizedHeads<F> cache(2, dim, 3);
  std::vector<std::vector<LevelOf<F>>> stored;
  for (size_t i = 0; i < 6; ++i) {
    std::vector<LevelOf<F>> levels(dim);
    const std::vector<uint8_t> codes = RandomCodes<F>(dim, i);
    for (size_t c = 0; c < dim; ++c) levels[c] = static_cast<LevelOf<F>>(Traits::Level(codes[c]));
    cache.Store(i / 3, i % 3, levels.data(), static_cast<float>(i) + 0.5f);
    stored.push_back(levels);
  }
  for (size_t i = 0; i < 6; ++i) {
    std::vector<LevelOf<F>> levels(dim);
    cache.Load(i / 3, i % 3, levels);
    Law(levels == stored[i], "the cache gives back levels", static_cast<double>(i));
    Law(cache.Step(i / 3, i % 3) == static_cast<float>(i) + 0.5f, "... and steps", static_cast<double>(i));
  }
}

// y = float(double(dot) * double(w_step * x_step)), the dot product being exact: weights of F, inputs of X.
template <LevelFormat F, LevelFormat X>
void TestReferenceProduct() {
  for (const size_t cols : {size_t{1}, size_t{17}, size_t{130}}) {
    if (!DotFits<F, X>(cols)) continue;
    const size_t rows = 4;
    const size_t tokens = 2;
    const std::vector<float> w = NormalValues(rows * cols, cols);
    const std::vector<float> x = NormalValues(tokens * cols, cols + 1);
    const auto matrix = QuantizedMatrix<F>::template Quantize<Quantizer<F, AbsMean>>({w.data(), rows, cols});
    QuantizedRows<X> inputs;
    reference::Quantize<Quantizer<X, AbsMax>>({x.data(), tokens, cols}, inputs);
    std::vector<float> y(tokens * rows);
    reference::MatMul(matrix, inputs, MatrixView<float>(y.data(), tokens, rows));
    bool exact = true;
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t r = 0; r < rows; ++r) {
        std::vector<LevelOf<F>> levels(cols);
        matrix.UnpackRow(r, levels);
        int64_t dot = 0;
        for (size_t c = 0; c < cols; ++c) dot += int64_t{levels[c]} * int64_t{inputs[t][c]};
        const float scale = matrix.Step(r, 0) * inputs.Steps(t)[0];
        exact = exact && y[t * rows + r] == static_cast<float>(static_cast<double>(dot) * static_cast<double>(scale));
      }
    }
    Law(exact, "the reference product is exact but for its one rounding", static_cast<double>(cols));
  }
}

// All of it.
template <LevelFormat F>
void TestFormat() {
  TestDerivedFacts<F>();
  TestNearestLevel<F>();
  TestPacking<F>();
  TestQuantizer<F, AbsMean>();
  TestQuantizer<F, AbsMax>();
  TestQuantizer<F, MinMax>();
  TestStorage<F>();
  TestReferenceProduct<F, Int<4>>();
  TestReferenceProduct<Ternary, F>();
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_TEST_FORMAT_H_
