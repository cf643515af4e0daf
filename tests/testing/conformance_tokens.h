// TestTokenOperations<B>(): quantizers, lists and the element-wise operations of a backend against the reference. Part
// of backend_conformance.h.
#ifndef BITNET_TESTS_TESTING_CONFORMANCE_TOKENS_H_
#define BITNET_TESTS_TESTING_CONFORMANCE_TOKENS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "bitnet/backend/backend.h"
#include "bitnet/backend/reference.h"
#include "testing/awkward_formats.h"
#include "testing/awkward_values.h"
#include "testing/same_bits.h"

namespace bitnet::testing {

inline constexpr size_t kTokenCols[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 21, 31, 33, 63, 64, 65, 127, 128, 130, 192, 514};
inline constexpr size_t kTokenCounts[] = {1, 3};

template <Format X>
[[gnu::noinline]] void ExpectSameTokens(const QuantizedTokens<X>& actual, const QuantizedTokens<X>& expected,
                                        const char* operation, const std::string& place) {
  Expect(actual.tokens() == expected.tokens() && actual.cols() == expected.cols(), operation, place + ": the shape");
  for (size_t t = 0; t < expected.tokens(); ++t) {
    for (size_t s = 0; s < expected.segments().Count(); ++s) {
      if (expected.cols() != 0 && !SameBits(actual.Step(t, s), expected.Step(t, s))) {
        FAIL_CHECK(std::string(operation) << ", " << place << ": step " << s << " of token " << t << " is "
                                          << actual.Step(t, s) << ", not " << expected.Step(t, s));
        return;
      }
    }
    for (size_t c = 0; c < expected.stride(); ++c) {
      const auto a = static_cast<float>(actual.Row(t)[c]);
      const auto b = static_cast<float>(expected.Row(t)[c]);
      if (!SameBits(a, b)) {
        FAIL_CHECK(std::string(operation)
                   << ", " << place << ": level " << c << " of token " << t << " is " << a << ", not " << b);
        return;
      }
    }
  }
}

[[gnu::noinline]] inline void ExpectSameLists(const ChannelLists& actual, const ChannelLists& expected,
                                              const char* operation, const std::string& place) {
  Expect(actual.tokens() == expected.tokens(), operation, place + ": the number of lists");
  for (size_t t = 0; t < expected.tokens(); ++t) {
    Expect(std::ranges::equal(actual[t], expected[t]), operation, place + ": the list of token " + std::to_string(t));
  }
}

// An input of the operations.
struct TokensCase {
  size_t tokens;
  size_t cols;
  std::vector<float> values;
  std::string place;
};

inline std::vector<TokensCase> DrawTokensCases(const char* name, int top) {
  std::vector<TokensCase> cases;
  for (const size_t cols : kTokenCols) {
    for (const size_t tokens : kTokenCounts) {
      for (int kind = 0; kind < static_cast<int>(Kind::kCount); ++kind) {
        cases.push_back({tokens, cols, AwkwardValues(static_cast<Kind>(kind), tokens * cols, cols + tokens, top),
                         std::string(name) + ", " + std::to_string(tokens) + "x" + std::to_string(cols) + ", kind " +
                             std::to_string(kind)});
      }
    }
  }
  return cases;
}

// The numbers of values kept that QuantizeTopK is tried with.
inline constexpr size_t kKeeps = 3;
inline size_t KeptOf(size_t cols, size_t i) { return i == 0 ? 1 : i == 1 ? (cols + 1) / 2 : cols; }

// What the reference makes of a case. (Apart from the backend, so that it is compiled once for all of them.)
template <AnyQuantizer Q>
struct QuantizerExpectation {
  QuantizedTokens<typename Q::Format> all, kept[kKeeps];
};

template <AnyQuantizer Q>
[[gnu::noinline]] std::vector<QuantizerExpectation<Q>> ExpectQuantized(const std::vector<TokensCase>& cases) {
  const ReferenceBackend reference;
  std::vector<QuantizerExpectation<Q>> expected(cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    GuardedMatrix x(cases[i].tokens, cases[i].cols, cases[i].values);
    reference.Quantize<Q>(x.view(), expected[i].all);
    reference.FindNonzero(expected[i].all);
    if constexpr (ReferenceBackend::HasZero<typename Q::Format>()) {
      for (size_t k = 0; k < kKeeps; ++k) {
        reference.QuantizeTopK<Q>(x.view(), KeptOf(cases[i].cols, k), expected[i].kept[k]);
      }
    }
  }
  return expected;
}

template <AnyQuantizer Q>
std::vector<TokensCase> QuantizerCases(const char* name) {
  if constexpr (kIsFloat<typename Q::Format>) {
    return DrawTokensCases(name, 7);
  } else {
    return DrawTokensCases(name, FormatTraits<typename Q::Format>::kTop);
  }
}

template <AnyQuantizer Q, class B>
void TestQuantizer(const B& backend, const char* name) {
  static const std::vector<TokensCase> cases = QuantizerCases<Q>(name);
  static const std::vector<QuantizerExpectation<Q>> expected = ExpectQuantized<Q>(cases);
  QuantizedTokens<typename Q::Format> actual;
  for (size_t i = 0; i < cases.size(); ++i) {
    GuardedMatrix x(cases[i].tokens, cases[i].cols, cases[i].values);
    backend.template Quantize<Q>(x.view(), actual);
    ExpectSameTokens(actual, expected[i].all, "Quantize", cases[i].place);
    backend.FindNonzero(actual);
    ExpectSameLists(actual.nonzero(), expected[i].all.nonzero(), "FindNonzero", cases[i].place);
    if constexpr (ReferenceBackend::HasZero<typename Q::Format>()) {
      for (size_t k = 0; k < kKeeps; ++k) {
        backend.template QuantizeTopK<Q>(x.view(), KeptOf(cases[i].cols, k), actual);
        ExpectSameTokens(actual, expected[i].kept[k], "QuantizeTopK", cases[i].place);
      }
    }
  }
}

// An activation of one's own.
struct HalfOfPositive {
  static constexpr bool kMakesZeros = true;
  static float Value(float g) { return g <= 0.0f ? 0.0f : 0.5f * g; }
  static float Derivative(float g) { return g <= 0.0f ? 0.0f : 0.5f; }
};

template <Activation A, class B>
void TestActivation(const B& backend, const char* name) {
  const ReferenceBackend reference;
  ChannelLists actual, expected;
  for (const TokensCase& c : DrawTokensCases(name, 7)) {
    GuardedMatrix gate(c.tokens, c.cols, c.values);
    GuardedMatrix up(c.tokens, c.cols, AwkwardValues(Kind::kNormal, c.tokens * c.cols, 3));
    reference.OpenGates<A>(gate.view(), expected);
    backend.template OpenGates<A>(gate.view(), actual);
    ExpectSameLists(actual, expected, "OpenGates", c.place);
    // Nobody has computed `up` where the gate is closed.
    for (size_t t = 0; t < c.tokens; ++t) {
      for (size_t i = 0, next = 0; i < c.cols; ++i) {
        if (next < expected.Count(t) && expected[t][next] == i) {
          ++next;
        } else {
          up.view()[t][i] = std::numeric_limits<float>::quiet_NaN();
        }
      }
    }
    GuardedMatrix expected_y(c.tokens, c.cols), y(c.tokens, c.cols);
    reference.Glu<A>(gate.view(), up.view(), expected, expected_y.view());
    backend.template Glu<A>(gate.view(), up.view(), expected, y.view());
    y.ExpectSame(expected_y, "Glu", c.place);
    backend.template Glu<A>(gate.view(), up.view(), expected, up.view());
    up.ExpectSame(expected_y, "Glu in place", c.place);
  }
}

template <class B>
void TestElementwise(const B& backend) {
  const ReferenceBackend reference;
  for (const TokensCase& c : DrawTokensCases("reals", 7)) {
    const std::vector<float> other = AwkwardValues(Kind::kNormal, c.tokens * c.cols, 5);
    GuardedMatrix x(c.tokens, c.cols, c.values), in_place = x;

    GuardedMatrix gain(1, c.cols, other), expected(c.tokens, c.cols), y(c.tokens, c.cols);
    reference.RmsNorm(x.view(), gain.view()[0], 1e-5f, expected.view());
    backend.RmsNorm(x.view(), gain.view()[0], 1e-5f, y.view());
    y.ExpectSame(expected, "RmsNorm", c.place);
    backend.RmsNorm(in_place.view(), gain.view()[0], 1e-5f, in_place.view());
    in_place.ExpectSame(expected, "RmsNorm in place", c.place);

    GuardedMatrix expected_sum(c.tokens, c.cols, other), sum = expected_sum;
    reference.Add(x.view(), expected_sum.view());
    backend.Add(x.view(), sum.view());
    sum.ExpectSame(expected_sum, "Add", c.place);

    if (c.cols % 2 != 0) continue;
    GuardedMatrix expected_heads = x, heads = x;
    GuardedMatrix sin(1, c.cols / 2, AwkwardValues(Kind::kNormal, c.cols / 2, 9));
    const std::span<const float> cos = std::span(other).first(c.cols / 2);
    reference.Rotate(cos, sin.view()[0], expected_heads.view());
    backend.Rotate(cos, sin.view()[0], heads.view());
    heads.ExpectSame(expected_heads, "Rotate", c.place);
  }
}

// The list in two parts: a test of many targets takes all of it for some of them only.
template <class B>
void TestSomeTokenOperations() {
  const B backend(DefaultExecutor());
  TestQuantizer<Quantizer<Int<4>, AbsMean>>(backend, "Int<4>, AbsMean");
  TestQuantizer<Quantizer<Fp4E2M1, MinMax>>(backend, "Fp4E2M1, MinMax");
  TestQuantizer<Quantizer<MidRise<8>, AbsMax, PerGroup<5>>>(backend, "MidRise<8>, AbsMax, PerGroup<5>");
  TestQuantizer<Unquantized>(backend, "Unquantized");
  TestActivation<SquaredRelu>(backend, "SquaredRelu");
  TestActivation<Silu>(backend, "Silu");
  TestElementwise(backend);
}

template <class B>
void TestOtherTokenOperations() {
  const B backend(DefaultExecutor());
  TestQuantizer<Quantizer<Int<8>, AbsMax>>(backend, "Int<8>, AbsMax");
  TestQuantizer<Quantizer<MidRise<3>, AbsMax>>(backend, "MidRise<3>, AbsMax");
  TestQuantizer<Quantizer<Binary, AbsMeanTimes<2>>>(backend, "Binary, AbsMeanTimes<2>");
  TestQuantizer<Quantizer<UInt<8>, MinMax, PerGroup<32>>>(backend, "UInt<8>, MinMax, PerGroup<32>");
  TestQuantizer<Quantizer<BigSteps, MinMax>>(backend, "BigSteps, MinMax");
  TestQuantizer<Quantizer<Squares, AbsMax>>(backend, "Squares, AbsMax");
  TestQuantizer<Quantizer<Threes, AbsMax>>(backend, "Threes, AbsMax");
  TestQuantizer<Quantizer<OneSided, AbsMax>>(backend, "OneSided, AbsMax");
  TestQuantizer<Quantizer<Ternary, RootMeanSquare>>(backend, "Ternary, RootMeanSquare");
  TestQuantizer<Signs>(backend, "Signs");
  TestActivation<HalfOfPositive>(backend, "HalfOfPositive");
}

template <class B>
void TestTokenOperations() {
  TestSomeTokenOperations<B>();
  TestOtherTokenOperations<B>();
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_CONFORMANCE_TOKENS_H_
