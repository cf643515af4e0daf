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
#include "bitnet/backend/reference_operations.h"
#include "testing/awkward_formats.h"
#include "testing/awkward_values.h"
#include "testing/device_matrix.h"
#include "testing/same_bits.h"

namespace bitnet::testing {

inline constexpr size_t kTokenCols[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 21, 31, 33, 63, 64, 65, 127, 128, 130, 192, 514};
inline constexpr size_t kTokenCounts[] = {1, 3};

template <Operand X>
[[gnu::noinline]] void ExpectSameRows(const QuantizedRows<X>& actual, const QuantizedRows<X>& expected,
                                      const char* operation, const std::string& place) {
  Expect(actual.rows() == expected.rows() && actual.cols() == expected.cols() &&
             actual.step_groups().group == expected.step_groups().group,
         operation, place + ": the shape");
  for (size_t t = 0; t < expected.rows(); ++t) {
    for (size_t s = 0; s < expected.step_groups().Count(); ++s) {
      if (expected.cols() != 0 && !SameBits(actual.Steps(t)[s], expected.Steps(t)[s])) {
        FAIL_CHECK(std::string(operation) << ", " << place << ": step " << s << " of token " << t << " is "
                                          << actual.Steps(t)[s] << ", not " << expected.Steps(t)[s]);
        return;
      }
    }
    for (size_t c = 0; c < expected.cols(); ++c) {
      const auto a = static_cast<float>(actual[t][c]);
      const auto b = static_cast<float>(expected[t][c]);
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
  QuantizedRows<OperandOf<Q>> all, kept[kKeeps];
  uint64_t nonzero = 0, pairs = 0;
};

template <AnyQuantizer Q>
[[gnu::noinline]] std::vector<QuantizerExpectation<Q>> ExpectQuantized(const std::vector<TokensCase>& cases) {
  std::vector<QuantizerExpectation<Q>> expected(cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    GuardedMatrix x(cases[i].tokens, cases[i].cols, cases[i].values);
    reference::Quantize<Q>(x.view(), expected[i].all);
    reference::FindNonzero(expected[i].all);
    expected[i].nonzero = reference::CountNonzero(expected[i].all);
    expected[i].pairs = reference::CountNonzero(expected[i].all, expected[i].all.nonzero());
    if constexpr (HasZero<typename Q::Format>()) {
      for (size_t k = 0; k < kKeeps; ++k) {
        reference::QuantizeTopK<Q>(x.view(), KeptOf(cases[i].cols, k), expected[i].kept[k]);
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
  typename B::Stream stream = backend.NewStream();
  typename B::template Rows<OperandOf<Q>> rows;
  typename B::Lists lists;
  QuantizedRows<OperandOf<Q>> actual;
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto& [tokens, cols, values, place] = cases[i];
    DeviceMatrix x(backend, stream, tokens, cols, values);
    backend.template Quantize<Q>(stream, x.view(), rows);
    backend.FindNonzero(stream, rows);
    backend.Read(stream, rows, actual);
    backend.Write(stream, expected[i].all.nonzero(), lists);
    const uint64_t nonzero = backend.CountNonzero(stream, rows);
    const uint64_t pairs = backend.CountNonzero(stream, rows, lists);
    ExpectFinished(backend, stream, place);
    ExpectSameRows(actual, expected[i].all, "Quantize", place);
    ExpectSameLists(actual.nonzero(), expected[i].all.nonzero(), "FindNonzero", place);
    Expect(nonzero == expected[i].nonzero && pairs == expected[i].pairs, "CountNonzero", place);
    backend.Write(stream, expected[i].all, rows);
    backend.Read(stream, rows, actual);
    ExpectFinished(backend, stream, place);
    ExpectSameRows(actual, expected[i].all, "Write and Read", place);
    ExpectSameLists(actual.nonzero(), expected[i].all.nonzero(), "Write and Read", place);
    if constexpr (HasZero<typename Q::Format>()) {
      for (size_t k = 0; k < kKeeps; ++k) {
        backend.template QuantizeTopK<Q>(stream, x.view(), KeptOf(cols, k), rows);
        backend.Read(stream, rows, actual);
        ExpectFinished(backend, stream, place);
        ExpectSameRows(actual, expected[i].kept[k], "QuantizeTopK", place);
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
  typename B::Stream stream = backend.NewStream();
  typename B::Lists open;
  ChannelLists actual, expected;
  for (const TokensCase& c : DrawTokensCases(name, 7)) {
    GuardedMatrix host_gate(c.tokens, c.cols, c.values);
    std::vector<float> host_up = AwkwardValues(Kind::kNormal, c.tokens * c.cols, 3);
    DeviceMatrix gate(backend, stream, c.tokens, c.cols, c.values);
    reference::OpenGates<A>(host_gate.view(), expected);
    backend.template OpenGates<A>(stream, gate.view(), open);
    backend.Read(stream, open, actual);
    ExpectFinished(backend, stream, c.place);
    ExpectSameLists(actual, expected, "OpenGates", c.place);
    // Nobody has computed `up` where the gate is closed.
    for (size_t t = 0; t < c.tokens; ++t) {
      for (size_t i = 0, next = 0; i < c.cols; ++i) {
        if (next < expected.Count(t) && expected[t][next] == i) {
          ++next;
        } else {
          host_up[t * c.cols + i] = std::numeric_limits<float>::quiet_NaN();
        }
      }
    }
    GuardedMatrix guarded_up(c.tokens, c.cols, host_up);
    DeviceMatrix up(backend, stream, c.tokens, c.cols, host_up);
    GuardedMatrix expected_y(c.tokens, c.cols);
    DeviceMatrix y(backend, stream, c.tokens, c.cols);
    reference::Glu<A>(host_gate.view(), guarded_up.view(), expected, expected_y.view());
    backend.Write(stream, expected, open);
    backend.template Glu<A>(stream, gate.view(), up.view(), open, y.view());
    y.ExpectSame(expected_y, "Glu", c.place);
    backend.template Glu<A>(stream, gate.view(), up.view(), open, up.view());
    up.ExpectSame(expected_y, "Glu in place", c.place);
  }
}

// A transform of one's own: a quarter turn of each pair.
struct QuarterTurns {
  static void Turn(std::span<float> x, float sign) {
    for (size_t i = 0; i + 1 < x.size(); i += 2) {
      const float first = x[i];
      x[i] = -sign * x[i + 1];
      x[i + 1] = sign * first;
    }
  }
  static void Apply(std::span<float> x) { Turn(x, 1.0f); }
  static void ApplyTranspose(std::span<float> x) { Turn(x, -1.0f); }
};

// And widths at which a block takes several passes.
template <AnyTransform T, class B>
void TestTransformOf(const B& backend, const char* name) {
  typename B::Stream stream = backend.NewStream();
  std::vector<TokensCase> cases = DrawTokensCases(name, 7);
  for (const size_t cols : {256u, 511u, 1024u, 2560u, 5460u}) {
    cases.push_back({2, cols, AwkwardValues(Kind::kNormal, 2 * cols, cols), name + (", 2x" + std::to_string(cols))});
  }
  for (const TokensCase& c : cases) {
    GuardedMatrix host(c.tokens, c.cols, c.values), expected(c.tokens, c.cols);
    DeviceMatrix x(backend, stream, c.tokens, c.cols, c.values);
    DeviceMatrix y(backend, stream, c.tokens, c.cols);
    reference::Transform<T>(host.view(), expected.view());
    backend.template Transform<T>(stream, x.view(), y.view());
    y.ExpectSame(expected, "Transform", c.place);
    x.ExpectSame(host, "Transform leaves its input alone", c.place);
    backend.template Transform<T>(stream, x.view(), x.view());
    x.ExpectSame(expected, "Transform in place", c.place);
  }
}
template <AnyTransform T, class B>
void TestTransform(const B& backend, const char* name) {
  TestTransformOf<T>(backend, name);
  TestTransformOf<Transposed<T>>(backend, name);
}

template <class B>
void TestElementwise(const B& backend) {
  typename B::Stream stream = backend.NewStream();
  for (const TokensCase& c : DrawTokensCases("reals", 7)) {
    const std::vector<float> other = AwkwardValues(Kind::kNormal, c.tokens * c.cols, 5);
    const std::span<const float> gain = std::span(other).first(c.cols);
    GuardedMatrix host(c.tokens, c.cols, c.values);
    DeviceMatrix x(backend, stream, c.tokens, c.cols, c.values);
    DeviceMatrix in_place(backend, stream, c.tokens, c.cols, c.values);

    GuardedMatrix expected(c.tokens, c.cols);
    DeviceMatrix y(backend, stream, c.tokens, c.cols);
    reference::RmsNorm(host.view(), gain, 1e-5f, expected.view());
    const typename B::Vector vector = backend.PrepareVector(gain);
    backend.RmsNorm(stream, x.view(), vector, 1e-5f, y.view());
    y.ExpectSame(expected, "RmsNorm", c.place);
    backend.RmsNorm(stream, in_place.view(), vector, 1e-5f, in_place.view());
    in_place.ExpectSame(expected, "RmsNorm in place", c.place);

    GuardedMatrix expected_sum(c.tokens, c.cols, other);
    DeviceMatrix sum(backend, stream, c.tokens, c.cols, other);
    reference::Add(host.view(), expected_sum.view());
    backend.Add(stream, x.view(), sum.view());
    sum.ExpectSame(expected_sum, "Add", c.place);

    // Heads of all columns, and of some; positions of several sequences.
    for (const size_t heads : {size_t{1}, size_t{3}}) {
      if (c.cols % (2 * heads) != 0) continue;
      const Rope rope(c.cols / heads, 100.0f);
      std::vector<Place> places;
      for (uint32_t t = 0; t < c.tokens; ++t) places.push_back({t % 2, 7 * t + 1});
      HostWhere host_where;
      host_where.Set(places, {}, rope);
      typename B::Where where;
      backend.SetWhere(stream, places, {}, rope, where);
      GuardedMatrix expected_heads = host;
      DeviceMatrix turned(backend, stream, c.tokens, c.cols, c.values);
      reference::Rotate(host_where, expected_heads.view());
      backend.Rotate(stream, where, turned.view());
      turned.ExpectSame(expected_heads, "Rotate", c.place);
    }
  }
}

// The same token for the same number, whatever the options; and the same refusals.
template <class B>
void TestSample(const B& backend) {
  typename B::Stream stream = backend.NewStream();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const SamplerOptions options[] = {{.temperature = 0.0f}, {},
                                    {.temperature = 0.3f}, {.top_k = 1},
                                    {.top_k = 7},          {.top_p = 0.5f},
                                    {.top_p = 1e-9f},      {.temperature = 5.0f, .top_k = 40, .top_p = 0.9f},
                                    {.min_p = 0.2f},       {.top_p = 0.9f, .min_p = 1.0f}};
  SampleScratch scratch;
  Random random(11);
  for (const size_t vocab : {1u, 2u, 63u, 257u, 3000u}) {
    for (const char* kind : {"normal", "equal", "mostly minus infinity", "a NaN", "infinite", "minus infinity"}) {
      const std::string name = kind;
      std::vector<float> logits = AwkwardValues(Kind::kNormal, vocab, vocab);
      for (size_t i = 0; i < vocab; ++i) {
        if (name == "equal") logits[i] = -2.5f;
        if (name == "minus infinity" || (name == "mostly minus infinity" && i % 5 != 0)) logits[i] = -kInfinity;
      }
      if (name == "a NaN") logits[vocab / 2] = std::numeric_limits<float>::quiet_NaN();
      if (name == "infinite") logits[vocab / 2] = kInfinity;
      DeviceMatrix device(backend, stream, 1, vocab, logits);
      for (const SamplerOptions& option : options) {
        for (int i = 0; i < 4; ++i) {
          const uint64_t number = i == 0 ? 0 : i == 1 ? ~uint64_t{0} : RandomBits(random);
          const Result<uint32_t> actual = backend.Sample(stream, device.view(), option, number);
          const Result<uint32_t> expected = SampleToken(logits, option, number, scratch);
          Expect(
              actual.ok() == expected.ok() && (actual.ok() ? *actual == *expected : actual.error() == expected.error()),
              "Sample", std::to_string(vocab) + " logits, " + name);
        }
      }
    }
  }
}

// Where a backend offers the norm and the quantizer as one operation.
template <AnyQuantizer Q, class B>
void TestRmsNormQuantize(const B& backend, const char* name) {
  typename B::Stream stream = backend.NewStream();
  typename B::template Rows<OperandOf<Q>> rows;
  if constexpr (requires(MatrixView<const float> x, const typename B::Vector& gain) {
                  backend.template RmsNormQuantize<Q>(stream, x, gain, 1e-5f, rows);
                }) {
    for (const TokensCase& c : DrawTokensCases(name, 7)) {
      const std::vector<float> gain = AwkwardValues(Kind::kNormal, c.cols, 5);
      GuardedMatrix host(c.tokens, c.cols, c.values), normed(c.tokens, c.cols);
      DeviceMatrix x(backend, stream, c.tokens, c.cols, c.values);
      QuantizedRows<OperandOf<Q>> expected, actual;
      reference::RmsNorm(host.view(), gain, 1e-5f, normed.view());
      reference::Quantize<Q>(normed.view(), expected);
      const typename B::Vector prepared = backend.PrepareVector(gain);
      backend.template RmsNormQuantize<Q>(stream, x.view(), prepared, 1e-5f, rows);
      backend.Read(stream, rows, actual);
      ExpectFinished(backend, stream, c.place);
      ExpectSameRows(actual, expected, "RmsNormQuantize", c.place);
    }
  }
}

// The list in two parts: a test of many targets takes all of it for some of them only.
template <class B>
void TestSomeTokenOperations() {
  const B backend = MakeBackend<B>();
  TestQuantizer<Quantizer<Int<4>, AbsMean>>(backend, "Int<4>, AbsMean");
  TestQuantizer<Quantizer<Fp4E2M1, MinMax>>(backend, "Fp4E2M1, MinMax");
  TestQuantizer<Quantizer<MidRise<8>, AbsMax, PerGroup<5>>>(backend, "MidRise<8>, AbsMax, PerGroup<5>");
  TestQuantizer<Unquantized>(backend, "Unquantized");
  TestActivation<SquaredRelu>(backend, "SquaredRelu");
  TestActivation<Silu>(backend, "Silu");
  TestElementwise(backend);
  TestTransform<Hadamard<64>>(backend, "Hadamard<64>");
  TestTransform<Hadamard<4096, RandomSigns<3>>>(backend, "Hadamard<4096>, signs");
  TestSample(backend);
  TestRmsNormQuantize<Quantizer<Int<4>, AbsMean>>(backend, "RmsNormQuantize to Int<4>");
  TestRmsNormQuantize<Quantizer<Int<8>, AbsMax, PerGroup<5>>>(backend, "RmsNormQuantize to Int<8>, PerGroup<5>");
  TestRmsNormQuantize<Unquantized>(backend, "RmsNormQuantize to reals");
}

template <class B>
void TestOtherTokenOperations() {
  const B backend = MakeBackend<B>();
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
  TestQuantizer<Rounded<BFloat16>>(backend, "Rounded<BFloat16>");
  TestQuantizer<Rounded<Float16>>(backend, "Rounded<Float16>");
  TestActivation<HalfOfPositive>(backend, "HalfOfPositive");
  TestTransform<Hadamard<1, RandomSigns<1>>>(backend, "signs alone");
  TestTransform<Hadamard<2>>(backend, "Hadamard<2>");
  TestTransform<Hadamard<16, RandomSigns<2>>>(backend, "Hadamard<16>, signs");
  TestTransform<Hadamard<256>>(backend, "Hadamard<256>");
  TestTransform<QuarterTurns>(backend, "QuarterTurns");
  TestTransform<Identity>(backend, "Identity");
}

template <class B>
void TestTokenOperations() {
  TestSomeTokenOperations<B>();
  TestOtherTokenOperations<B>();
}

}  // namespace bitnet::testing

#endif  // BITNET_TESTS_TESTING_CONFORMANCE_TOKENS_H_
