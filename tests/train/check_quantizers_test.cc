#include "bitnet/train/check_quantizers.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "testing/awkward_formats.h"
#include "testing/tiny_model.h"

namespace bitnet::testing {
namespace {

// ---- Element by element.

// Of each kOf values in a row the kKept largest are kept.
template <class Base, size_t kKept, size_t kOf>
struct Sparse : Base {
  static float Quantize(std::span<const float> x, typename Base::Level* levels) {
    const float step = Base::Quantize(x, levels);
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t begin = i / kOf * kOf;
      const auto block = x.subspan(begin, std::min(kOf, x.size() - begin));
      size_t larger = 0;
      for (const float other : block) larger += std::fabs(other) > std::fabs(x[i]) ? 1u : 0u;
      if (larger >= kKept) levels[i] = 0;
    }
    return step;
  }
};
// A step that does not depend on the values.
template <int kTwoTo>
struct FixedStep : Quantizer<Int<4>, AbsMax> {
  static float Quantize(std::span<const float> x, int8_t* levels) {
    const float step = std::ldexp(1.0f, kTwoTo);
    for (size_t i = 0; i < x.size(); ++i) levels[i] = static_cast<int8_t>(LevelAt(x[i], 1.0f / step));
    return step;
  }
};

// ---- Not.

enum class How { kHadamard, kPairs, kPermuted, kSwapped, kNegated, kOneNegated, kShifted, kTurned, kSummed };

// What is done to x before it is quantized. Blocks of 4 (Hadamard), pairs, or all.
template <How how>
std::vector<float> Mistaken(std::span<const float> x) {
  std::vector<float> y(x.begin(), x.end());
  const size_t n = x.size();
  for (size_t i = 0; i < n; ++i) {
    if (how == How::kPermuted) y[i] = x[n - 1 - i];
    if (how == How::kNegated) y[i] = -x[i];
    if (how == How::kOneNegated && i == n / 2) y[i] = -x[i];
    if (how == How::kSwapped && i < 2 && n > 1) y[i] = x[1 - i];
    if (how == How::kShifted) y[i] = x[(i + 1) % n];
    if (how == How::kSummed) y[i] = i == 0 ? x[0] : y[i - 1] + x[i];
    if (how == How::kTurned && i + 1 < n && i % 2 == 0) {  // by 40 degrees
      y[i] = 0.766f * x[i] - 0.643f * x[i + 1];
      y[i + 1] = 0.643f * x[i] + 0.766f * x[i + 1];
    }
  }
  if (how == How::kHadamard || how == How::kPairs) {
    const size_t block = how == How::kPairs ? 2 : std::bit_floor(n);
    for (size_t begin = 0; begin + block <= n; begin += block) {
      for (size_t half = 1; half < block; half *= 2) {
        for (size_t i = 0; i < block; ++i) {
          if ((i & half) != 0) continue;
          const float a = y[begin + i], b = y[begin + i + half];
          y[begin + i] = (a + b) * 0.70710678f;
          y[begin + i + half] = (a - b) * 0.70710678f;
        }
      }
    }
  }
  return y;
}
template <class Base, How how>
struct With : Base {
  static float Quantize(std::span<const float> x, typename Base::Level* levels) {
    return Base::Quantize(Mistaken<how>(x), levels);
  }
};

constexpr size_t kWidths[] = {2, 3, 6, 20, 61, 128};

template <class Q>
bool Mixes(size_t n) {
  const MixedPlaces mixed = FindMixedPlaces<Q>(n);
  CAPTURE(n);
  CAPTURE(mixed.output);
  CAPTURE(mixed.input);
  CHECK((mixed.output < n && mixed.input < n));
  return mixed.found;
}
template <class... Q>
void CheckPlain() {
  size_t place = 0;
  const auto check = [&]<class One>() {
    CAPTURE(place);
    CHECK_FALSE(Mixes<One>(1));
    for (const size_t n : kWidths) CHECK_FALSE(Mixes<One>(n));
    ++place;
  };
  (check.template operator()<Q>(), ...);
}

TEST_CASE("CheckQuantizers: every format of the library follows its input, with every rule") {
  CheckPlain<Quantizer<Ternary, AbsMean>, Quantizer<Ternary, AbsMax>, Quantizer<Binary, AbsMean>,
             Quantizer<Binary, AbsMax>, Quantizer<Int<2>, AbsMean>, Quantizer<Int<3>, MinMax>,
             Quantizer<Int<4>, AbsMean>, Quantizer<Int<8>, AbsMax>>();
  CheckPlain<Quantizer<UInt<2>, AbsMax>, Quantizer<UInt<4>, MinMax>, Quantizer<MidRise<1>, AbsMax>,
             Quantizer<MidRise<3>, AbsMax>, Quantizer<MidRise<4>, AbsMax>, Quantizer<Fp4E2M1, MinMax>,
             Quantizer<Fp4E1M2, MinMax>, Unquantized, Rounded<BFloat16>, Rounded<Float16>>();
}
TEST_CASE("CheckQuantizers: so do awkward ones, and ones of one's own that drop values or know no step") {
  CheckPlain<Quantizer<Lopsided, AbsMax>, Quantizer<OneSided, AbsMax>, Quantizer<OnOff, AbsMean>,
             Quantizer<BigSteps, MinMax>, Quantizer<Squares, AbsMax>, Quantizer<Threes, AbsMax>,
             Quantizer<PowersOfTwo, RootMeanSquare>, Signs>();
  CheckPlain<Sparse<Quantizer<Ternary, AbsMean>, 2, 4>, Sparse<Quantizer<Ternary, AbsMean>, 1, 4>,
             Sparse<Quantizer<Int<8>, AbsMax>, 2, 4>, Sparse<Quantizer<Int<8>, AbsMax>, 1, 16>>();
  CheckPlain<FixedStep<-20>, FixedStep<-8>, FixedStep<-4>, FixedStep<0>, FixedStep<5>, FixedStep<10>>();
}

template <How how>
void CheckMixed() {
  for (const size_t n : {size_t{2}, size_t{3}, size_t{20}, size_t{128}}) {
    CAPTURE(static_cast<int>(how));
    CHECK(Mixes<With<Quantizer<Int<8>, AbsMax>, how>>(n));
    CHECK(Mixes<With<Quantizer<Int<4>, AbsMean>, how>>(n));
    CHECK(Mixes<With<Quantizer<Ternary, AbsMean>, how>>(n));
    CHECK(Mixes<With<Quantizer<Binary, AbsMean>, how>>(n));
  }
}

TEST_CASE("CheckQuantizers: rotations, permutations and changes of sign do not follow their input") {
  CheckMixed<How::kHadamard>();
  CheckMixed<How::kPairs>();
  CheckMixed<How::kPermuted>();
  CheckMixed<How::kSwapped>();
  CheckMixed<How::kNegated>();
  CheckMixed<How::kOneNegated>();
  CheckMixed<How::kShifted>();
  CheckMixed<How::kTurned>();
  CheckMixed<How::kSummed>();
}

template <int kPlace>
struct RotatedAt : A48 {
  static constexpr const char* kName = "Rotated";
  using Q = Quantizer<Int<8>, AbsMax>;
  using R = With<Q, How::kPairs>;
  template <int kIf, class Else>
  using At = std::conditional_t<kPlace == kIf, R, Else>;
  using Weight = At<0, A48::Weight>;
  using Input = At<1, A48::Input>;
  using OutputInput = At<2, A48::OutputInput>;
  using DownInput = At<3, A48::DownInput>;
  using Query = At<4, A48::Query>;
  using Key = At<5, A48::Key>;
  using Value = At<6, A48::Value>;
  using FirstKey = At<7, A48::FirstKey>;
  using FirstValue = At<8, A48::FirstValue>;
  using HeadWeight = At<9, A48::HeadWeight>;
  using HeadInput = At<10, A48::HeadInput>;
};

template <int... kPlace>
void CheckPlaces(std::integer_sequence<int, kPlace...>) {
  const char* const names[] = {"Weight", "Input",    "OutputInput", "DownInput",  "Query",    "Key",
                               "Value",  "FirstKey", "FirstValue",  "HeadWeight", "HeadInput"};
  const auto check = [&]<class S>(const std::string& name) {
    const Result<Done> trainable = CheckQuantizers<S>(ModelConfig());
    REQUIRE(!trainable.ok());
    CHECK(trainable.error().find("scheme Rotated: its quantizer " + name + " is not element by element: of ") == 0);
  };
  (check.template operator()<RotatedAt<kPlace>>(names[kPlace]), ...);
}

TEST_CASE("CheckQuantizers: names the place, whichever it is") {
  CheckPlaces(std::make_integer_sequence<int, 11>());
  CHECK(CheckQuantizers<RotatedAt<-1>>(ModelConfig()).ok());
  CHECK(CheckQuantizers<RotatedAt<1>>(ModelConfig()).error() ==
        "scheme Rotated: its quantizer Input is not element by element: of 128 values, what it makes of value 0 "
        "follows value 1; straight-through gradients would be wrong (what mixes values belongs "
        "before the quantizer: Transformed<T, Q>)");
}

// Turns whole blocks of 256, as is usual where tails are left alone.
struct LongBlocks : Quantizer<Int<8>, AbsMax> {
  static float Quantize(std::span<const float> x, Level* levels) {
    std::vector<float> turned(x.begin(), x.end());
    for (size_t b = 0; b + 256 <= x.size(); b += 256) {
      std::rotate(turned.begin() + static_cast<std::ptrdiff_t>(b),
                  turned.begin() + static_cast<std::ptrdiff_t>(b + 100),
                  turned.begin() + static_cast<std::ptrdiff_t>(b + 256));
    }
    return Quantizer<Int<8>, AbsMax>::Quantize(turned, levels);
  }
};
struct LongBlocksAtInput : A48 {
  static constexpr const char* kName = "LongBlocks";
  using Input = LongBlocks;
};

TEST_CASE("CheckQuantizers: blocks that are longer than a short span are seen where the model has them") {
  ModelConfig config;
  config.hidden = 600;
  const Result<Done> refused = CheckQuantizers<LongBlocksAtInput>(config);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().find("of 600 values") != std::string::npos);
  config.hidden = 200;  // no block fits
  CHECK(CheckQuantizers<LongBlocksAtInput>(config).ok());
}

// ---- Transforms before a quantizer.

// Turned by a place: the transpose turns back.
struct TurnedOnce {
  static void Apply(std::span<float> x) { std::rotate(x.begin(), x.begin() + 1, x.end()); }
  static void ApplyTranspose(std::span<float> x) { std::rotate(x.begin(), x.end() - 1, x.end()); }
};
struct NotBack {
  static void Apply(std::span<float> x) { TurnedOnce::Apply(x); }
  static void ApplyTranspose(std::span<float> x) { TurnedOnce::Apply(x); }
};
// Its own transpose, but it makes values larger.
struct NotOrthogonal {
  static void Apply(std::span<float> x) {
    for (float& v : x) v *= 1.01f;
  }
  static void ApplyTranspose(std::span<float> x) { Apply(x); }
};
template <class T>
struct AtDown : A48 {
  static constexpr const char* kName = "AtDown";
  using DownInput = Transformed<T, A48::DownInput>;
};
// The quantizer behind a transform is tried as any other.
struct RotatedBehind : A48 {
  static constexpr const char* kName = "RotatedBehind";
  using Input = Transformed<Hadamard<64>, RotatedAt<1>::Input>;
};

TEST_CASE("CheckQuantizers: a transform must be orthogonal, with its transpose") {
  ModelConfig config;
  config.ffn = 700;
  CHECK(CheckQuantizers<AtDown<Hadamard<256, RandomSigns<1>>>>(config).ok());
  CHECK(CheckQuantizers<AtDown<TurnedOnce>>(config).ok());
  CHECK(CheckQuantizers<RotatedBy<A48>>(config).ok());
  CHECK(CheckQuantizers<AtDown<NotBack>>(config).error() ==
        "scheme AtDown: the transform of its quantizer DownInput cannot be trained: of 700 values, its ApplyTranspose "
        "is not the transpose of its Apply");
  CHECK(CheckQuantizers<AtDown<NotOrthogonal>>(config).error() ==
        "scheme AtDown: the transform of its quantizer DownInput cannot be trained: of 700 values, its ApplyTranspose "
        "does not take its Apply back");
  REQUIRE_FALSE(CheckQuantizers<RotatedBehind>(config).ok());
  CHECK(CheckQuantizers<RotatedBehind>(config).error().find("Input is not element by element") != std::string::npos);
}

}  // namespace
}  // namespace bitnet::testing
